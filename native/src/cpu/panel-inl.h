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

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
