// The inner kernel of linears and attention scores: a tile of up to kMaxTileRows x 4 dot products. Included once per target.
#if defined(SKEIN_CPU_DOT_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_DOT_TILE_INL_H
#undef SKEIN_CPU_DOT_TILE_INL_H
#else
#define SKEIN_CPU_DOT_TILE_INL_H
#endif

#include <type_traits>

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

/// Four neighbouring weight rows where they lie. Meanwhile the next four are fetched: for each element of a row, the lines
/// `next_step` apart from next + k * next_scale.
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

struct Sums {
  VF c0, c1, c2, c3;
};

/// One step of up to six rows against one column.
template <size_t kRows>
HWY_INLINE void StepColumn(VF w, const VF (&a)[6], VF& s0, VF& s1, VF& s2, VF& s3, VF& s4, VF& s5) {
  s0 = hn::MulAdd(a[0], w, s0);
  if constexpr (kRows > 1) s1 = hn::MulAdd(a[1], w, s1);
  if constexpr (kRows > 2) s2 = hn::MulAdd(a[2], w, s2);
  if constexpr (kRows > 3) s3 = hn::MulAdd(a[3], w, s3);
  if constexpr (kRows > 4) s4 = hn::MulAdd(a[4], w, s4);
  if constexpr (kRows > 5) s5 = hn::MulAdd(a[5], w, s5);
}

/// out(r, 0..3) = dot(x row r, weight row 0..3) over k elements, for kRows rows. One accumulator of kLanes partial sums
/// per product, elements in order, then SumsOf4: the result of a pair does not depend on the tile it is in.
template <size_t kRows, class Source, class Emit>
HWY_INLINE void DotTile(const float* HWY_RESTRICT x, size_t x_stride, const Source& w, size_t k, const Emit& emit) {
  static_assert(kRows >= 1 && kRows <= 6);
  const VF zero = hn::Zero(DF());
  Sums s0{zero, zero, zero, zero}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
  // Columns one after another, so that one register holds each weight vector in turn: 3 rows leave just that.
  const auto step = [&](const VF(&a)[6], const auto& load) HWY_ATTR {
    StepColumn<kRows>(load(std::integral_constant<size_t, 0>()), a, s0.c0, s1.c0, s2.c0, s3.c0, s4.c0, s5.c0);
    StepColumn<kRows>(load(std::integral_constant<size_t, 1>()), a, s0.c1, s1.c1, s2.c1, s3.c1, s4.c1, s5.c1);
    StepColumn<kRows>(load(std::integral_constant<size_t, 2>()), a, s0.c2, s1.c2, s2.c2, s3.c2, s4.c2, s5.c2);
    StepColumn<kRows>(load(std::integral_constant<size_t, 3>()), a, s0.c3, s1.c3, s2.c3, s3.c3, s4.c3, s5.c3);
  };
  const auto row = [&](size_t r, size_t i) HWY_ATTR {
    return r < kRows ? LoadF32(x + r * x_stride + i) : zero;
  };
  size_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    w.Prefetch(i);
    const VF a[6] = {row(0, i), row(1, i), row(2, i), row(3, i), row(4, i), row(5, i)};
    step(a, [&](auto column) HWY_ATTR { return w.template Load<column>(i); });
  }
  if (i < k) {
    const auto part = [&](size_t r) HWY_ATTR { return r < kRows ? LoadPartial(x + r * x_stride + i, k - i) : zero; };
    const VF a[6] = {part(0), part(1), part(2), part(3), part(4), part(5)};
    step(a, [&](auto column) HWY_ATTR { return w.template LoadTail<column>(i, k - i); });
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
