#include "cpu/int_linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int_linear_nibbles.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/int_range-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

void NibblesImpl(const cpu::QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                 size_t col_begin, size_t col_end, float* scratch) {
  WithDots([&](auto dots) HWY_ATTR {
    RangeOf<decltype(dots), true>(x, part, row_begin, row_end, col_begin, col_end, scratch);
  });
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(NibblesImpl);

void cpu::IntLinearNibbles(const QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                           size_t col_begin, size_t col_end, float* scratch) {
  HWY_DYNAMIC_DISPATCH(NibblesImpl)(x, part, row_begin, row_end, col_begin, col_end, scratch);
}

}  // namespace skein
#endif
