// The inner kernel of linears and attention scores: a tile of up to kMaxTileRows x 4 dot products. Included once per target.
#if defined(SKEIN_CPU_DOT_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_DOT_TILE_INL_H
#undef SKEIN_CPU_DOT_TILE_INL_H
#else
#define SKEIN_CPU_DOT_TILE_INL_H
#endif

#include "cpu/simd-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// 24 + 6 + 1 of 32 vector registers, or 12 + 3 + 1 of 16.
#if HWY_TARGET == HWY_AVX3
constexpr size_t kMaxTileRows = 6;
#else
constexpr size_t kMaxTileRows = 3;
#endif
constexpr size_t kTileCols = 4;

/// Four weight rows where they lie.
template <typename T>
struct RowSource {
  const T* row[kTileCols];
  /// Distance to what is read after these rows; 0: nothing.
  size_t prefetch;
  template <size_t I>
  HWY_INLINE VF Load(size_t k) const {
    return LoadF32(row[I] + k);
  }
  template <size_t I>
  HWY_INLINE VF LoadTail(size_t k, size_t count) const {
    return LoadPartial(row[I] + k, count);
  }
  HWY_INLINE void Prefetch(size_t k) const {
    hwy::Prefetch(row[0] + k + prefetch);
    hwy::Prefetch(row[1] + k + prefetch);
    hwy::Prefetch(row[2] + k + prefetch);
    hwy::Prefetch(row[3] + k + prefetch);
  }
};

/// Four rows widened and interleaved by PackRows: [ceil(k / kLanes)][4][kLanes], zeros past k.
struct PackedSource {
  const float* data;
  template <size_t I>
  HWY_INLINE VF Load(size_t k) const {
    return hn::Load(DF(), data + k * kTileCols + I * kLanes);
  }
  template <size_t I>
  HWY_INLINE VF LoadTail(size_t k, size_t) const {
    return Load<I>(k);
  }
  HWY_INLINE void Prefetch(size_t) const {}
};

constexpr size_t PackedFloats(size_t k) { return (k + kLanes - 1) / kLanes * kLanes * kTileCols; }

template <typename T>
HWY_INLINE void PackRows(const T* const rows[kTileCols], size_t k, float* HWY_RESTRICT out) {
  const DF d;
  size_t i = 0;
  for (; i + kLanes <= k; i += kLanes, out += kTileCols * kLanes) {
    hn::Store(LoadF32(rows[0] + i), d, out);
    hn::Store(LoadF32(rows[1] + i), d, out + kLanes);
    hn::Store(LoadF32(rows[2] + i), d, out + 2 * kLanes);
    hn::Store(LoadF32(rows[3] + i), d, out + 3 * kLanes);
  }
  if (i == k) return;
  for (size_t r = 0; r < kTileCols; ++r) hn::Store(LoadPartial(rows[r] + i, k - i), d, out + r * kLanes);
}

struct Sums {
  VF c0, c1, c2, c3;
};

template <class Source>
HWY_INLINE void StepRow(VF a, VF w0, VF w1, VF w2, VF w3, Sums& s) {
  s.c0 = hn::MulAdd(a, w0, s.c0);
  s.c1 = hn::MulAdd(a, w1, s.c1);
  s.c2 = hn::MulAdd(a, w2, s.c2);
  s.c3 = hn::MulAdd(a, w3, s.c3);
}

/// out(r, 0..3) = dot(x row r, weight row 0..3) over k elements, for kRows rows. One accumulator of kLanes partial sums
/// per product, elements in order, then SumsOf4: the result of a pair does not depend on the tile it is in.
template <size_t kRows, class Source, class Emit>
HWY_INLINE void DotTile(const float* HWY_RESTRICT x, size_t x_stride, const Source& w, size_t k, const Emit& emit) {
  static_assert(kRows >= 1 && kRows <= 6);
  const VF zero = hn::Zero(DF());
  Sums s0{zero, zero, zero, zero}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
  const float* x0 = x;
  const float* x1 = x + x_stride;
  const float* x2 = x + 2 * x_stride;
  const float* x3 = x + 3 * x_stride;
  const float* x4 = x + 4 * x_stride;
  const float* x5 = x + 5 * x_stride;
  size_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    const VF w0 = w.template Load<0>(i), w1 = w.template Load<1>(i), w2 = w.template Load<2>(i),
             w3 = w.template Load<3>(i);
    w.Prefetch(i);
    StepRow<Source>(LoadF32(x0 + i), w0, w1, w2, w3, s0);
    if constexpr (kRows > 1) StepRow<Source>(LoadF32(x1 + i), w0, w1, w2, w3, s1);
    if constexpr (kRows > 2) StepRow<Source>(LoadF32(x2 + i), w0, w1, w2, w3, s2);
    if constexpr (kRows > 3) StepRow<Source>(LoadF32(x3 + i), w0, w1, w2, w3, s3);
    if constexpr (kRows > 4) StepRow<Source>(LoadF32(x4 + i), w0, w1, w2, w3, s4);
    if constexpr (kRows > 5) StepRow<Source>(LoadF32(x5 + i), w0, w1, w2, w3, s5);
  }
  if (i < k) {
    const size_t n = k - i;
    const VF w0 = w.template LoadTail<0>(i, n), w1 = w.template LoadTail<1>(i, n), w2 = w.template LoadTail<2>(i, n),
             w3 = w.template LoadTail<3>(i, n);
    StepRow<Source>(LoadPartial(x0 + i, n), w0, w1, w2, w3, s0);
    if constexpr (kRows > 1) StepRow<Source>(LoadPartial(x1 + i, n), w0, w1, w2, w3, s1);
    if constexpr (kRows > 2) StepRow<Source>(LoadPartial(x2 + i, n), w0, w1, w2, w3, s2);
    if constexpr (kRows > 3) StepRow<Source>(LoadPartial(x3 + i, n), w0, w1, w2, w3, s3);
    if constexpr (kRows > 4) StepRow<Source>(LoadPartial(x4 + i, n), w0, w1, w2, w3, s4);
    if constexpr (kRows > 5) StepRow<Source>(LoadPartial(x5 + i, n), w0, w1, w2, w3, s5);
  }
  emit(0, SumsOf4(s0.c0, s0.c1, s0.c2, s0.c3));
  if constexpr (kRows > 1) emit(1, SumsOf4(s1.c0, s1.c1, s1.c2, s1.c3));
  if constexpr (kRows > 2) emit(2, SumsOf4(s2.c0, s2.c1, s2.c2, s2.c3));
  if constexpr (kRows > 3) emit(3, SumsOf4(s3.c0, s3.c1, s3.c2, s3.c3));
  if constexpr (kRows > 4) emit(4, SumsOf4(s4.c0, s4.c1, s4.c2, s4.c3));
  if constexpr (kRows > 5) emit(5, SumsOf4(s5.c0, s5.c1, s5.c2, s5.c3));
}

/// All `rows` (any number) against four weight rows; emit(row, sums).
template <class Source, class Emit>
HWY_INLINE void DotRows(const float* x, size_t x_stride, size_t rows, const Source& w, size_t k, const Emit& emit) {
  size_t r = 0;
  const auto shifted = [&](size_t i, hn::Vec128<float> v) HWY_ATTR { emit(r + i, v); };
  for (; r + kMaxTileRows <= rows; r += kMaxTileRows) DotTile<kMaxTileRows>(x + r * x_stride, x_stride, w, k, shifted);
  const float* rest = x + r * x_stride;
  switch (rows - r) {
    case 1:
      return DotTile<1>(rest, x_stride, w, k, shifted);
    case 2:
      return DotTile<2>(rest, x_stride, w, k, shifted);
#if HWY_TARGET == HWY_AVX3
    case 3:
      return DotTile<3>(rest, x_stride, w, k, shifted);
    case 4:
      return DotTile<4>(rest, x_stride, w, k, shifted);
    case 5:
      return DotTile<5>(rest, x_stride, w, k, shifted);
#endif
    default:
      return;
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
