// The soft cap of scores and logits. Included once per target, before the kernels that use it.
#if defined(SKEIN_CPU_SOFT_CAP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_SOFT_CAP_INL_H
#undef SKEIN_CPU_SOFT_CAP_INL_H
#else
#define SKEIN_CPU_SOFT_CAP_INL_H
#endif

#include "cpu/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// cap * tanh(x / cap), `inverse` being 1 / cap.
HWY_INLINE VF SoftCapOf(VF x, VF cap, VF inverse) {
  return hn::Mul(cap, hn::Tanh(DF(), hn::Mul(x, inverse)));
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
