// The inner kernel of linears and attention scores: a tile of up to kMaxTileRows x 4 dot products. Included
// once per target.
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

/// Four neighbouring weight rows where they lie. Meanwhile the next four are fetched: for each element of a
/// row, the lines `next_step` apart from next + k * next_scale.
template <typename T>
struct RowSource {
  const T* row[kTileCols];
  const T* next;
  size_t next_scale;
  size_t next_step;
  template <size_t I>
  HWY_INLINE VF Load(size_t k) const {
    return LoadF32(row[I] + k);
  }
  template <size_t I>
  HWY_INLINE VF LoadTail(size_t k, size_t count) const {
    return LoadPartial(row[I] + k, count);
  }
  HWY_INLINE void Prefetch(size_t k) const {
    if (k * sizeof(T) % 64 != 0) return;
    const T* at = next + k * next_scale;
    hwy::Prefetch(at);
    hwy::Prefetch(at + next_step);
    hwy::Prefetch(at + 2 * next_step);
    hwy::Prefetch(at + 3 * next_step);
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

/// The same, fetching two rows that are packed next while these are used.
template <typename T>
struct PackedAheadSource : PackedSource {
  const T* next[2];
  HWY_INLINE void Prefetch(size_t k) const {
    if (k * sizeof(T) % 64 != 0) return;
    hwy::Prefetch(next[0] + k);
    hwy::Prefetch(next[1] + k);
  }
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

/// One step of up to six rows against one column.
template <size_t kRows>
HWY_INLINE void StepColumn(VF w, VF a0, VF a1, VF a2, VF a3, VF a4, VF a5, VF& s0, VF& s1, VF& s2, VF& s3,
                           VF& s4, VF& s5) {
  s0 = hn::MulAdd(a0, w, s0);
  if constexpr (kRows > 1) s1 = hn::MulAdd(a1, w, s1);
  if constexpr (kRows > 2) s2 = hn::MulAdd(a2, w, s2);
  if constexpr (kRows > 3) s3 = hn::MulAdd(a3, w, s3);
  if constexpr (kRows > 4) s4 = hn::MulAdd(a4, w, s4);
  if constexpr (kRows > 5) s5 = hn::MulAdd(a5, w, s5);
}

template <bool kUsed>
HWY_INLINE VF LoadIf(const float* p) {
  if constexpr (kUsed) {
    return LoadF32(p);
  } else {
    return hn::Zero(DF());
  }
}

template <bool kUsed>
HWY_INLINE VF LoadPartialIf(const float* p, size_t count) {
  if constexpr (kUsed) {
    return LoadPartial(p, count);
  } else {
    return hn::Zero(DF());
  }
}

/// emit(r, 0..3) = dot(x row r, weight row 0..3) over k elements, for kRows rows. One accumulator of kLanes
/// partial sums per product, elements in order, then SumsOf4: the result of a pair does not depend on the
/// tile it is in. Accumulators are single variables and the steps always-inline functions: as arrays or in
/// lambdas GCC keeps them in memory.
template <size_t kRows, class Source, class Emit>
HWY_INLINE void DotTile(const float* HWY_RESTRICT x, size_t x_stride, const Source& w, size_t k,
                        const Emit& emit) {
  static_assert(kRows >= 1 && kRows <= 6);
  const VF zero = hn::Zero(DF());
  VF s00 = zero, s01 = zero, s02 = zero, s03 = zero;
  VF s10 = zero, s11 = zero, s12 = zero, s13 = zero;
  VF s20 = zero, s21 = zero, s22 = zero, s23 = zero;
  VF s30 = zero, s31 = zero, s32 = zero, s33 = zero;
  VF s40 = zero, s41 = zero, s42 = zero, s43 = zero;
  VF s50 = zero, s51 = zero, s52 = zero, s53 = zero;
  const float* x1 = x + x_stride;
  const float* x2 = x + 2 * x_stride;
  const float* x3 = x + 3 * x_stride;
  const float* x4 = x + 4 * x_stride;
  const float* x5 = x + 5 * x_stride;
  size_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    w.Prefetch(i);
    const VF a0 = LoadF32(x + i), a1 = LoadIf<(kRows > 1)>(x1 + i), a2 = LoadIf<(kRows > 2)>(x2 + i),
             a3 = LoadIf<(kRows > 3)>(x3 + i), a4 = LoadIf<(kRows > 4)>(x4 + i),
             a5 = LoadIf<(kRows > 5)>(x5 + i);
    // Columns one after another, so that one register holds each weight vector in turn: 3 rows of 16 leave
    // just that.
    StepColumn<kRows>(w.template Load<0>(i), a0, a1, a2, a3, a4, a5, s00, s10, s20, s30, s40, s50);
    StepColumn<kRows>(w.template Load<1>(i), a0, a1, a2, a3, a4, a5, s01, s11, s21, s31, s41, s51);
    StepColumn<kRows>(w.template Load<2>(i), a0, a1, a2, a3, a4, a5, s02, s12, s22, s32, s42, s52);
    StepColumn<kRows>(w.template Load<3>(i), a0, a1, a2, a3, a4, a5, s03, s13, s23, s33, s43, s53);
  }
  if (i < k) {
    const size_t n = k - i;
    const VF a0 = LoadPartial(x + i, n), a1 = LoadPartialIf<(kRows > 1)>(x1 + i, n),
             a2 = LoadPartialIf<(kRows > 2)>(x2 + i, n), a3 = LoadPartialIf<(kRows > 3)>(x3 + i, n),
             a4 = LoadPartialIf<(kRows > 4)>(x4 + i, n), a5 = LoadPartialIf<(kRows > 5)>(x5 + i, n);
    StepColumn<kRows>(w.template LoadTail<0>(i, n), a0, a1, a2, a3, a4, a5, s00, s10, s20, s30, s40, s50);
    StepColumn<kRows>(w.template LoadTail<1>(i, n), a0, a1, a2, a3, a4, a5, s01, s11, s21, s31, s41, s51);
    StepColumn<kRows>(w.template LoadTail<2>(i, n), a0, a1, a2, a3, a4, a5, s02, s12, s22, s32, s42, s52);
    StepColumn<kRows>(w.template LoadTail<3>(i, n), a0, a1, a2, a3, a4, a5, s03, s13, s23, s33, s43, s53);
  }
  emit(0, SumsOf4(s00, s01, s02, s03));
  if constexpr (kRows > 1) emit(1, SumsOf4(s10, s11, s12, s13));
  if constexpr (kRows > 2) emit(2, SumsOf4(s20, s21, s22, s23));
  if constexpr (kRows > 3) emit(3, SumsOf4(s30, s31, s32, s33));
  if constexpr (kRows > 4) emit(4, SumsOf4(s40, s41, s42, s43));
  if constexpr (kRows > 5) emit(5, SumsOf4(s50, s51, s52, s53));
}

/// All `rows` (any number) against four weight rows; emit(row, sums).
template <class Source, class Emit>
HWY_INLINE void DotRows(const float* x, size_t x_stride, size_t rows, const Source& w, size_t k,
                        const Emit& emit) {
  // Tiles of about equal height: 8 rows as 4 + 4, since a short tile waits for its few sums.
  for (size_t tiles = (rows + kMaxTileRows - 1) / kMaxTileRows, r = 0; tiles > 0; --tiles) {
    const size_t height = (rows - r + tiles - 1) / tiles;
    const float* from = x + r * x_stride;
    const auto shifted = [&](size_t i, hn::Vec128<float> v) HWY_ATTR { emit(r + i, v); };
    switch (height) {
      case 1:
        DotTile<1>(from, x_stride, w, k, shifted);
        break;
      case 2:
        DotTile<2>(from, x_stride, w, k, shifted);
        break;
      case 3:
        DotTile<3>(from, x_stride, w, k, shifted);
        break;
#if HWY_TARGET == HWY_AVX3
      case 4:
        DotTile<4>(from, x_stride, w, k, shifted);
        break;
      case 5:
        DotTile<5>(from, x_stride, w, k, shifted);
        break;
      case 6:
        DotTile<6>(from, x_stride, w, k, shifted);
        break;
#endif
      default:
        break;
    }
    r += height;
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
