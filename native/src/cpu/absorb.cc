#include "cpu/absorb.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/absorb.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

constexpr size_t kAbsorbRows = 4;
#if HWY_TARGET == HWY_AVX3
constexpr size_t kAbsorbVecs = 4;
#else
constexpr size_t kAbsorbVecs = 2;
#endif

template <typename T>
struct Absorb {
  const float* x;
  size_t x_stride;
  const T* weight;
  size_t depth, cols;
  float* out;
  size_t out_stride;
};

/// kRows rows and kVecs vectors of columns from `col`.
template <size_t kRows, size_t kVecs, typename T>
HWY_INLINE void AbsorbTile(const Absorb<T>& a, size_t row, size_t col) {
  const DF d;
  VF sums[kRows][kVecs];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVecs; ++c) sums[r][c] = hn::Zero(d);
  }
  for (size_t i = 0; i < a.depth; ++i) {
    const T* from = a.weight + i * a.cols + col;
    VF w[kVecs];
    for (size_t c = 0; c < kVecs; ++c) w[c] = LoadF32(from + c * kLanes);
    for (size_t r = 0; r < kRows; ++r) {
      const VF x = hn::Set(d, a.x[(row + r) * a.x_stride + i]);
      for (size_t c = 0; c < kVecs; ++c) sums[r][c] = hn::MulAdd(x, w[c], sums[r][c]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVecs; ++c)
      hn::StoreU(sums[r][c], d, a.out + (row + r) * a.out_stride + col + c * kLanes);
  }
}

/// The last columns, fewer than a vector.
template <typename T>
void AbsorbTail(const Absorb<T>& a, size_t row, size_t col) {
  const DF d;
  const size_t count = a.cols - col;
  VF sum = hn::Zero(d);
  for (size_t i = 0; i < a.depth; ++i) {
    sum = hn::MulAdd(hn::Set(d, a.x[row * a.x_stride + i]), LoadPartial(a.weight + i * a.cols + col, count),
                     sum);
  }
  StorePartial(sum, a.out + row * a.out_stride + col, count);
}

template <size_t kRows, typename T>
void AbsorbStrip(const Absorb<T>& a, size_t row) {
  size_t col = 0;
  for (; col + kAbsorbVecs * kLanes <= a.cols; col += kAbsorbVecs * kLanes)
    AbsorbTile<kRows, kAbsorbVecs>(a, row, col);
  for (; col + kLanes <= a.cols; col += kLanes) AbsorbTile<kRows, 1>(a, row, col);
  if (col < a.cols) {
    for (size_t r = 0; r < kRows; ++r) AbsorbTail(a, row + r, col);
  }
}

template <typename T>
void AbsorbAll(const Absorb<T>& a, size_t rows) {
  size_t row = 0;
  for (; row + kAbsorbRows <= rows; row += kAbsorbRows) AbsorbStrip<kAbsorbRows>(a, row);
  for (; row < rows; ++row) AbsorbStrip<1>(a, row);
}

void AbsorbImpl(const float* x, size_t x_stride, size_t rows, const WeightView& w, float* out,
                size_t out_stride) {
  const auto all = [&](auto* weight) {
    AbsorbAll<std::remove_const_t<std::remove_pointer_t<decltype(weight)>>>(
        {x, x_stride, weight, w.rows, w.cols, out, out_stride}, rows);
  };
  switch (w.dtype) {
    case Dtype::kF32:
      return all(static_cast<const float*>(w.data));
    case Dtype::kF16:
      return all(static_cast<const F16*>(w.data));
    case Dtype::kBF16:
      return all(static_cast<const BF16*>(w.data));
    case Dtype::kF8E4M3:
      return all(static_cast<const F8E4M3*>(w.data));
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(AbsorbImpl);
namespace cpu {

void AbsorbRows(const float* x, size_t x_stride, size_t rows, const WeightView& w, float* out,
                size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(AbsorbImpl)(x, x_stride, rows, w, out, out_stride);
}

}  // namespace cpu
}  // namespace skein
#endif
