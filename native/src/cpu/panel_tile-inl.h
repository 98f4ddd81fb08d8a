// The inner kernel of float linears: an outer product of up to kTileRows rows of x and a panel or a few, with
// the sums in registers. Included once per target.
#if defined(SKEIN_CPU_PANEL_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_PANEL_TILE_INL_H
#undef SKEIN_CPU_PANEL_TILE_INL_H
#else
#define SKEIN_CPU_PANEL_TILE_INL_H
#endif

#include "cpu/panel-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// 12 sums, two vectors of weights, one of x: what 16 registers hold.
constexpr size_t kTileRows = 6;
constexpr size_t kTileFloats = kTileRows * kPanelRows;

/// What to fetch while a tile is computed: the line at `at`, moved on by `step` bytes for each line of
/// weights that is used.
struct Fetch {
  const std::byte* at;
  size_t step;
};

/// Adds to the sums of kRows rows and kPanels panels, `sums_step` floats apart, the products of n columns in
/// order: one multiply-add each. `resume` is false where the sums start from zero.
template <size_t kRows, size_t kPanels, typename T>
HWY_INLINE void MultiplyTile(const float* HWY_RESTRICT x, size_t x_stride, const T* HWY_RESTRICT panel,
                             size_t panel_step, size_t n, Fetch fetch, bool resume, float* HWY_RESTRICT sums,
                             size_t sums_step) {
  static_assert(kRows * kPanels <= kTileRows);
  constexpr size_t kColumnBytes = kPanelRows * sizeof(T);
  constexpr size_t kLineColumns = std::max<size_t>(1, 64 / kColumnBytes);
  constexpr size_t kColumnLines = std::max<size_t>(1, kColumnBytes / 64);
  const DF d;
  VF s[kRows][kPanels][2];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t p = 0; p < kPanels; ++p) {
      const float* from = sums + p * sums_step + r * kPanelRows;
      s[r][p][0] = resume ? hn::LoadU(d, from) : hn::Zero(d);
      s[r][p][1] = resume ? hn::LoadU(d, from + kLanes) : hn::Zero(d);
    }
  }
  const auto column = [&](size_t k) HWY_ATTR {
    VF w[kPanels][2];
    for (size_t p = 0; p < kPanels; ++p)
      LoadColumn(panel + p * panel_step + k * kPanelRows, w[p][0], w[p][1]);
    for (size_t r = 0; r < kRows; ++r) {
      const VF a = hn::Set(d, x[r * x_stride + k]);
      for (size_t p = 0; p < kPanels; ++p) {
        s[r][p][0] = hn::MulAdd(a, w[p][0], s[r][p][0]);
        s[r][p][1] = hn::MulAdd(a, w[p][1], s[r][p][1]);
      }
    }
  };
  size_t k = 0;
  for (; k + kLineColumns <= n; k += kLineColumns) {
    for (size_t p = 0; p < kPanels; ++p) {
      for (size_t line = 0; line < kColumnLines; ++line) {
        hwy::Prefetch(fetch.at + p * panel_step * sizeof(T) + line * 64);
      }
    }
    fetch.at += kColumnLines * fetch.step;
    for (size_t i = 0; i < kLineColumns; ++i) column(k + i);
  }
  for (; k < n; ++k) column(k);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t p = 0; p < kPanels; ++p) {
      float* to = sums + p * sums_step + r * kPanelRows;
      hn::StoreU(s[r][p][0], d, to);
      hn::StoreU(s[r][p][1], d, to + kLanes);
    }
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
