// The inner kernel of float linears: an outer product of up to kTileRows rows of x and a panel or a few, with
// the sums in registers. Included once per target.
#if defined(SKEIN_CPU_PANEL_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_PANEL_TILE_INL_H
#undef SKEIN_CPU_PANEL_TILE_INL_H
#else
#define SKEIN_CPU_PANEL_TILE_INL_H
#endif

#include <algorithm>
#include <utility>

#include "cpu/panel-inl.h"
#include "cpu/row_pointers-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// Rows of a tile, and of one with two panels. A row has two vectors of sums a panel; beside them are two of
// weights, four while those of two panels are widened, and one of x: what 32 registers hold, or 16.
#if HWY_TARGET == HWY_AVX3
constexpr size_t kTileRows = 12, kPairedRows = 6;
#else
constexpr size_t kTileRows = 6, kPairedRows = 2;
#endif
/// So many columns a turn: what a turn costs beside its products is shared, where a core issues six
/// instructions a cycle and 12 products take six cycles. A checked build looks at every load, and would take
/// long to compile eight columns of them.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kUnrolledColumns = 2;
#else
constexpr size_t kUnrolledColumns = 48 / kTileRows;
#endif
constexpr size_t kTileFloats = kTileRows * kPanelRows;

/// Levels of the tree that adds up PartialSums: 8 = 2^3.
constexpr size_t kTreeLevels = 3;

/// Sums of a tile and a panel between two blocks of columns.
struct TileSums {
  float segment[kTileFloats];            ///< since the last change of scale; in the end the whole sum
  float run[kTileFloats];                ///< of the partial sum, scaled
  float tree[kTreeLevels][kTileFloats];  ///< of finished partial sums, waiting for their neighbours
};

/// A tile fetches one byte from elsewhere for every kFetch that it reads of a panel; none where that is 0.
template <size_t kFetch, typename T>
struct FetchPlan {
  static constexpr size_t kColumnBytes = kPanelRows * sizeof(T);
  static constexpr size_t kStep = kColumnBytes / std::max<size_t>(1, kFetch);  ///< bytes a column
  /// Columns between two fetches, where a column is less than a line.
  static constexpr size_t kColumns = std::clamp<size_t>(64 / kStep, 1, kUnrolledColumns);
};

/// Two vectors: the rows of a panel.
struct PanelVectors {
  VF low, high;
};

HWY_INLINE PanelVectors LoadSums(const float* from, bool resume) {
  const VF zero = hn::Zero(DF());
  if (!resume) return {zero, zero};
  return {hn::LoadU(DF(), from), hn::LoadU(DF(), from + kLanes)};
}

template <typename T>
HWY_INLINE PanelVectors LoadWeights(const T* from) {
  VF low, high;
  LoadColumn(from, low, high);
  return {low, high};
}

/// Adds those to the left.
HWY_INLINE void AddSums(const float* left, PanelVectors& sums) {
  sums.low = hn::Add(hn::LoadU(DF(), left), sums.low);
  sums.high = hn::Add(hn::LoadU(DF(), left + kLanes), sums.high);
}

HWY_INLINE void StoreSums(const PanelVectors& sums, float* to) {
  hn::StoreU(sums.low, DF(), to);
  hn::StoreU(sums.high, DF(), to + kLanes);
}

/// sum += a * b, in the register where the sum is: GCC would let sums change places with the values that are
/// broadcast, and move vectors at the end of each turn to put that right.
HWY_INLINE void AddProduct(VF a, VF b, VF& sum) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#else
  sum = hn::MulAdd(a, b, sum);
#endif
}

HWY_INLINE void AddProducts(const float* x, const PanelVectors& w, PanelVectors& sums) {
  const VF a = hn::Set(DF(), *x);
  AddProduct(a, w.low, sums.low);
  AddProduct(a, w.high, sums.high);
}

/// Where a tile has come to.
template <size_t kRows, typename T>
struct TileCursor {
  RowPointers<kRows, float> x;
  const T* panel;
  size_t panel_step;
  const std::byte* fetch;
};

/// The products of the column kColumn after the cursor's. Sums are numbered with panels inside rows.
template <size_t kPanels, size_t kFetch, size_t kColumn, size_t kRows, typename T, size_t... kSum>
HWY_INLINE void AddColumn(TileCursor<kRows, T>& c, PanelVectors* sums, std::index_sequence<kSum...>) {
  using Plan = FetchPlan<kFetch, T>;
  if constexpr (kFetch > 0 && kColumn % Plan::kColumns == 0) {
    for (size_t line = 0; line < Plan::kStep; line += 64) {
      const std::byte* at = c.fetch + kColumn * Plan::kStep + line;
      for (size_t p = 0; p < kPanels; ++p) hwy::Prefetch(at + p * c.panel_step * sizeof(T));
    }
  }
  const T* from = c.panel + kColumn * kPanelRows;
  const PanelVectors first = LoadWeights(from),
                     second = kPanels > 1 ? LoadWeights(from + c.panel_step) : first;
  (AddProducts(c.x.template row<kSum / kPanels>() + kColumn, kSum % kPanels == 0 ? first : second,
               sums[kSum]),
   ...);
  // The next column's loads stay behind these products: moved up they would take the registers of sums.
  asm volatile("" : "+r"(c.panel));
  c.x.Settle();
}

/// The next columns, which the cursor then has passed.
template <size_t kPanels, size_t kFetch, size_t kRows, typename T, size_t... kColumn>
HWY_INLINE void AddColumns(TileCursor<kRows, T>& c, PanelVectors* sums, std::index_sequence<kColumn...>) {
  (AddColumn<kPanels, kFetch, kColumn>(c, sums, std::make_index_sequence<kRows * kPanels>()), ...);
  constexpr size_t kColumns = sizeof...(kColumn);
  c.x.Advance(kColumns);
  c.panel += kColumns * kPanelRows;
  c.fetch += kColumns * FetchPlan<kFetch, T>::kStep;
}

/// The next n columns.
template <size_t kPanels, size_t kFetch, size_t kRows, typename T>
HWY_INLINE void AddManyColumns(TileCursor<kRows, T>& c, size_t n, PanelVectors* sums) {
  for (; n >= kUnrolledColumns; n -= kUnrolledColumns)
    AddColumns<kPanels, kFetch>(c, sums, std::make_index_sequence<kUnrolledColumns>());
  for (; n > 0; --n) AddColumns<kPanels, kFetch>(c, sums, std::index_sequence<0>());
}

/// Where in `of`, floats of the tile and the first panel, the sums numbered `i` are.
template <size_t kPanels>
HWY_INLINE float* SumsAt(float* of, size_t i) {
  return of + i % kPanels * (sizeof(TileSums) / sizeof(float)) + i / kPanels * kPanelRows;
}

template <size_t kPanels, size_t kFetch, size_t kRows, typename T, size_t... kSum>
HWY_INLINE void MultiplyColumns(TileCursor<kRows, T> c, size_t n, bool resume, float* HWY_RESTRICT to,
                                std::index_sequence<kSum...>) {
  PanelVectors sums[] = {LoadSums(SumsAt<kPanels>(to, kSum), resume)...};
  AddManyColumns<kPanels, kFetch>(c, n, sums);
  (StoreSums(sums[kSum], SumsAt<kPanels>(to, kSum)), ...);
}

template <size_t kPanels, size_t kFetch, size_t kRows, typename T, size_t... kSum>
HWY_INLINE void MultiplyColumnsOfRuns(TileCursor<kRows, T> c, size_t n, size_t run, size_t end,
                                      size_t partials, TileSums* HWY_RESTRICT to,
                                      std::index_sequence<kSum...>) {
  for (; run < end; ++run) {
    PanelVectors sums[] = {LoadSums(SumsAt<kPanels>(to->segment, kSum), false)...};
    AddManyColumns<kPanels, kFetch>(c, n, sums);
    // As in binary counting, sums of equally many runs are added.
    size_t level = 0;
    for (; (run >> level & 1) != 0; ++level)
      (AddSums(SumsAt<kPanels>(to->tree[level], kSum), sums[kSum]), ...);
    float* done = run + 1 == partials ? to->segment : to->tree[level];
    (StoreSums(sums[kSum], SumsAt<kPanels>(done, kSum)), ...);
  }
}

/// Adds to the sums of kRows rows and kPanels panels, at `sums` and a TileSums further each, the products of
/// n columns in order: one multiply-add each. `resume` is false where the sums start from zero. Indices of
/// sums are constants, and this is not inlined anywhere: counted by a loop, or beside other variables, GCC
/// keeps them in memory.
template <size_t kRows, size_t kPanels, size_t kFetch, typename T>
HWY_NOINLINE void MultiplyTile(const float* HWY_RESTRICT x, size_t x_stride, const T* HWY_RESTRICT panel,
                               size_t panel_step, size_t n, const std::byte* fetch, bool resume,
                               float* HWY_RESTRICT sums) {
  static_assert(kRows * kPanels <= kTileRows && (kPanels == 1 || (kPanels == 2 && kRows <= kPairedRows)));
  MultiplyColumns<kPanels, kFetch>(TileCursor<kRows, T>{{x, x_stride}, panel, panel_step, fetch}, n, resume,
                                   sums, std::make_index_sequence<kRows * kPanels>());
}

/// The same for the partial sums [run, end) of `partials`, n columns each: they are added up in `sums` as far
/// as they go, and after the last one the whole sums are in its segment.
template <size_t kRows, size_t kPanels, size_t kFetch, typename T>
HWY_NOINLINE void MultiplyRuns(const float* HWY_RESTRICT x, size_t x_stride, const T* HWY_RESTRICT panel,
                               size_t panel_step, size_t n, const std::byte* fetch, size_t run, size_t end,
                               size_t partials, TileSums* HWY_RESTRICT sums) {
  MultiplyColumnsOfRuns<kPanels, kFetch>(TileCursor<kRows, T>{{x, x_stride}, panel, panel_step, fetch}, n,
                                         run, end, partials, sums,
                                         std::make_index_sequence<kRows * kPanels>());
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
