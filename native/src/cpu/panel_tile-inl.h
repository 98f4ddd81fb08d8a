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

/// Two vectors: the rows of a panel.
struct PanelVectors {
  VF low, high;
};

template <bool kUsed>
HWY_INLINE PanelVectors LoadSums(const float* from, bool resume) {
  const VF zero = hn::Zero(DF());
  if (!kUsed || !resume) return {zero, zero};
  return {hn::LoadU(DF(), from), hn::LoadU(DF(), from + kLanes)};
}

template <bool kUsed>
HWY_INLINE void StoreSums(const PanelVectors& sums, float* to) {
  if constexpr (kUsed) {
    hn::StoreU(sums.low, DF(), to);
    hn::StoreU(sums.high, DF(), to + kLanes);
  }
}

template <bool kUsed, typename T>
HWY_INLINE PanelVectors LoadWeights(const T* from, const std::byte* fetch) {
  PanelVectors w{hn::Zero(DF()), hn::Zero(DF())};
  if constexpr (kUsed) {
    for (size_t line = 0; line < kPanelRows * sizeof(T); line += 64) hwy::Prefetch(fetch + line);
    LoadColumn(from, w.low, w.high);
  }
  return w;
}

template <bool kUsed>
HWY_INLINE void AddProducts(const float* x, const PanelVectors& w, PanelVectors& sums) {
  if constexpr (kUsed) {
    const VF a = hn::Set(DF(), *x);
    sums.low = hn::MulAdd(a, w.low, sums.low);
    sums.high = hn::MulAdd(a, w.high, sums.high);
  }
}

/// Adds to the sums of kRows rows and kPanels panels, `sums_step` floats apart, the products of n columns in
/// order: one multiply-add each. `resume` is false where the sums start from zero. Sums are single variables,
/// and the loop is not inlined anywhere: as arrays, or beside other variables, GCC keeps them in memory.
template <size_t kRows, size_t kPanels, typename T>
HWY_NOINLINE void MultiplyTile(const float* HWY_RESTRICT x, size_t x_stride, const T* HWY_RESTRICT panel,
                               size_t panel_step, size_t n, Fetch fetch, bool resume,
                               float* HWY_RESTRICT sums, size_t sums_step) {
  constexpr size_t kSums = kRows * kPanels;
  static_assert(kSums <= kTileRows && (kPanels == 1 || (kPanels == 2 && kRows <= 2)));
  // The sums of (row, panel), counted with panels inside.
  const auto at = [&](size_t i)
                      HWY_ATTR { return sums + i % kPanels * sums_step + i / kPanels * kPanelRows; };
  PanelVectors s0 = LoadSums<true>(at(0), resume), s1 = LoadSums<(kSums > 1)>(at(1), resume),
               s2 = LoadSums<(kSums > 2)>(at(2), resume), s3 = LoadSums<(kSums > 3)>(at(3), resume),
               s4 = LoadSums<(kSums > 4)>(at(4), resume), s5 = LoadSums<(kSums > 5)>(at(5), resume);
  const float *x1 = x + 1 / kPanels * x_stride, *x2 = x + 2 / kPanels * x_stride,
              *x3 = x + 3 / kPanels * x_stride, *x4 = x + 4 / kPanels * x_stride,
              *x5 = x + 5 / kPanels * x_stride;
  for (size_t k = 0; k < n; ++k) {
    const std::byte* f = fetch.at + k * fetch.step;
    const T* from = panel + k * kPanelRows;
    const size_t f_step = panel_step * sizeof(T);
    const PanelVectors w0 = LoadWeights<true>(from, f),
                       w1 = LoadWeights<(kPanels > 1)>(from + panel_step, f + f_step);
    AddProducts<true>(x + k, w0, s0);
    AddProducts<(kSums > 1)>(x1 + k, kPanels > 1 ? w1 : w0, s1);
    AddProducts<(kSums > 2)>(x2 + k, w0, s2);
    AddProducts<(kSums > 3)>(x3 + k, kPanels > 1 ? w1 : w0, s3);
    AddProducts<(kSums > 4)>(x4 + k, w0, s4);
    AddProducts<(kSums > 5)>(x5 + k, w0, s5);
  }
  StoreSums<true>(s0, at(0));
  StoreSums<(kSums > 1)>(s1, at(1));
  StoreSums<(kSums > 2)>(s2, at(2));
  StoreSums<(kSums > 3)>(s3, at(3));
  StoreSums<(kSums > 4)>(s4, at(4));
  StoreSums<(kSums > 5)>(s5, at(5));
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
