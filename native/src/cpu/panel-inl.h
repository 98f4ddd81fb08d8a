// How rows lie in a float panel, and how they are widened. Included once per target.
#if defined(SKEIN_CPU_PANEL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_PANEL_INL_H
#undef SKEIN_CPU_PANEL_INL_H
#else
#define SKEIN_CPU_PANEL_INL_H
#endif

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Weight rows of a panel: two vectors of f32.
constexpr size_t kPanelRows = 2 * kLanes;

/// Where row `row` of a panel lies among the kPanelRows elements of a column. Two bf16 share a 32-bit lane,
/// so that one load gives both vectors with a shift and a mask.
template <typename T>
constexpr size_t PanelSlot(size_t row) {
  return row;
}
template <>
constexpr size_t PanelSlot<BF16>(size_t row) {
  return row < kLanes ? 2 * row : 2 * (row - kLanes) + 1;
}

/// One column of a panel: rows 0 to kLanes - 1, and the others.
template <typename T>
HWY_INLINE void LoadColumn(const T* p, VF& low, VF& high) {
  low = LoadF32(p);
  high = LoadF32(p + kLanes);
}
HWY_INLINE void LoadColumn(const BF16* p, VF& low, VF& high) {
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const auto pairs = hn::LoadU(du, reinterpret_cast<const uint32_t*>(p));
  low = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
  high = hn::BitCast(d, hn::And(pairs, hn::Set(du, 0xffff0000u)));
}

/// Weights of a linear are widened to this fraction of their value where that is cheaper; their sums are
/// multiplied by the inverse. Being a power of two it changes no digit.
template <typename T>
constexpr float kWidenedInverse = 1;

#if HWY_TARGET != HWY_SSE4
/// As f16 whose exponent is 8 too low.
template <>
constexpr float kWidenedInverse<F8E4M3> = 256;

HWY_INLINE void LoadColumn(const F8E4M3* p, VF& low, VF& high) {
  const hn::Rebind<int8_t, hn::Repartition<int16_t, DF>> d8;
  const hn::Repartition<int16_t, DF> d16;
  const hn::Half<decltype(d16)> half;
  const hn::Rebind<hwy::float16_t, DF> f16;
  const auto shifted =
      hn::ShiftLeft<7>(hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const int8_t*>(p))));
  const auto nan = hn::VecFromMask(d16, hn::Eq(hn::And(shifted, hn::Set(d16, 0x3f80)), hn::Set(d16, 0x3f80)));
  const auto bits = hn::Or(hn::And(shifted, hn::Set(d16, static_cast<int16_t>(0xbf80))), nan);
  // Halved as integers: NEON's f16 has no halves.
  low = hn::PromoteTo(DF(), hn::BitCast(f16, hn::LowerHalf(half, bits)));
  high = hn::PromoteTo(DF(), hn::BitCast(f16, hn::UpperHalf(half, bits)));
}
#endif

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
