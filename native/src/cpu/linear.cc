#include "cpu/linear.h"

#include <algorithm>
#include <bit>

#include "core/checked_math.h"
#include "cpu/float_panels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/panel_tile-inl.h"
// clang-format on

#ifndef SKEIN_CPU_LINEAR_ONCE
#define SKEIN_CPU_LINEAR_ONCE
namespace skein::cpu {
/// Of a block of a panel, which stays in L1 while the tiles pass; x needs most of the ways.
constexpr size_t kBlockBytes = size_t{8} << 10;
/// Up to so many tiles weights are read panel after panel, as they lie, in longer blocks: x is small, and the
/// second tile finds the block in L2 as fast as it needs it. 64 KiB are a panel of 2048 bf16 columns.
constexpr size_t kFewTiles = 3;
constexpr size_t kFewTilesBlockBytes = size_t{64} << 10;
/// Weight rows whose blocks share the block of x, which is in L2 meanwhile.
constexpr size_t kGroupRows = 64;
}  // namespace skein::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Bytes that are fetched ahead where the weights are read once. A core with AVX-512 has most of a KiB under
/// way by itself: one of Emerald Rapids reads 4 to 12 rows' weights 12 to 18 % faster with 4 KiB.
#if HWY_TARGET == HWY_AVX3
constexpr size_t kFetchAhead = 4096;
#else
constexpr size_t kFetchAhead = 1024;
#endif

template <typename W>
constexpr size_t BlockColumns(size_t bytes) {
  return bytes / (kPanelRows * sizeof(W));
}

/// Whether weights may have scales. Without, whole partial sums are added up in registers.
template <typename T>
constexpr bool kScaled = std::is_same_v<T, F8E4M3>;

/// Columns [first, first + count): within one partial sum and one group of scales, or `runs` whole partial
/// sums without scales.
struct Block {
  size_t first, count;
  bool opens_segment, closes_segment, opens_run, closes_run, in_last_run;
  size_t run;           ///< index of its partial sum
  size_t runs;          ///< 0 where it is a part of one, or has scales
  const float* scales;  ///< of the panel's first row; null for none
};

/// The block that begins at `col`, of at most `most` columns. Partial sums are split where scales change.
template <typename T>
HWY_INLINE Block BlockAt(const WeightView& w, size_t col, size_t most) {
  const size_t run_columns = w.cols / w.partials, run = col / run_columns;
  const size_t run_begin = run * run_columns, run_end = run_begin + run_columns;
  if (!kScaled<T> && col == run_begin && run_columns <= most) {
    const size_t runs = std::min(most / run_columns, w.partials - run), count = runs * run_columns;
    return {.first = col,
            .count = count,
            .opens_segment = true,
            .closes_segment = true,
            .opens_run = true,
            .closes_run = true,
            .in_last_run = col + count == w.cols,
            .run = run,
            .runs = runs,
            .scales = nullptr};
  }
  size_t segment_begin = run_begin, segment_end = run_end;
  const float* scales = nullptr;
  if (w.scales != nullptr) {
    const size_t group = col / w.group;
    segment_begin = std::max(segment_begin, group * w.group);
    segment_end = std::min(segment_end, (group + 1) * w.group);
    scales = static_cast<const float*>(w.scales) + group * RoundUp(w.rows, kPanelRows);
  }
  const size_t end = std::min(segment_end, col + most);
  return {col,
          end - col,
          col == segment_begin,
          end == segment_end,
          segment_begin == run_begin,
          end == run_end,
          run_end == w.cols,
          run,
          0,
          scales};
}

/// Weights that are dear to widen are widened once for all tiles.
template <typename T>
using Prepared = std::conditional_t<std::is_same_v<T, F8E4M3>, float, T>;

/// One linear, for the kernels.
template <typename T>
struct Job {
  const Matrix& x;
  const LinearPart& part;
  size_t col_end;

  const T* panel(size_t row, size_t col) const {
    return static_cast<const T*>(part.weight.data) + row * part.weight.cols + col * kPanelRows;
  }
  size_t panel_step() const { return part.weight.cols * kPanelRows; }
};

HWY_INLINE void StoreOut(VF sum, const float* bias, float* out, size_t count) {
  if (count >= kLanes) {
    hn::StoreU(bias != nullptr ? hn::Add(sum, LoadF32(bias)) : sum, DF(), out);
  } else if (count > 0) {
    StorePartial(bias != nullptr ? hn::Add(sum, LoadPartial(bias, count)) : sum, out, count);
  }
}

/// Partial sums that end with `block`: its own, and as many as it has finished neighbours to be added to.
HWY_INLINE size_t FinishedSums(const Block& block) { return static_cast<size_t>(std::countr_one(block.run)); }

/// Where the products of a block are added up: at once where they wait for their neighbour, if they do.
template <typename T>
HWY_INLINE float* SumsOf(const Block& block, TileSums& sums) {
  const bool waits = block.run % 2 == 0 && !block.in_last_run && block.scales == nullptr;
  return waits && kWidenedInverse<T> == 1 ? sums.tree[0] : sums.segment;
}

/// Scales the segment that ended.
template <typename T>
HWY_INLINE void CloseSegment(const Block& block, size_t count, size_t row, TileSums& sums) {
  const DF d;
  const VF inverse = hn::Set(d, kWidenedInverse<T>);
  for (size_t at = 0; at < count; at += kLanes) {
    VF v = hn::Mul(hn::LoadU(d, sums.segment + at), inverse);
    if (block.scales != nullptr) {
      const VF scale = LoadF32(block.scales + row + at % kPanelRows);
      v = block.opens_run ? hn::Mul(v, scale) : hn::MulAdd(v, scale, hn::LoadU(d, sums.run + at));
    }
    hn::StoreU(v, d, (block.closes_run ? sums.segment : sums.run) + at);
  }
}

/// Adds a finished partial sum, in sums.segment, to kLevels finished neighbours.
template <size_t kLevels>
HWY_INLINE VF AddNeighbours(const TileSums& sums, size_t at) {
  const DF d;
  VF v = hn::LoadU(d, sums.segment + at);
  if constexpr (kLevels > 0) v = hn::Add(hn::LoadU(d, sums.tree[0] + at), v);
  if constexpr (kLevels > 1) v = hn::Add(hn::LoadU(d, sums.tree[1] + at), v);
  if constexpr (kLevels > 2) v = hn::Add(hn::LoadU(d, sums.tree[2] + at), v);
  return v;
}

template <size_t kLevels, typename T>
HWY_NOINLINE void CloseRun(const Job<T>& job, const Block& block, size_t x_row, size_t rows, size_t row,
                           TileSums& sums) {
  const DF d;
  if (!block.in_last_run) {
    if constexpr (kLevels < kTreeLevels) {
      for (size_t at = 0; at < rows * kPanelRows; at += kLanes)
        hn::StoreU(AddNeighbours<kLevels>(sums, at), d, sums.tree[kLevels] + at);
    }
    return;
  }
  float* out = job.part.Out(x_row, row);
  const float* bias = job.part.bias != nullptr ? job.part.bias + row : nullptr;
  const size_t width = std::min(kPanelRows, job.col_end - row);
  for (size_t r = 0; r < rows; ++r, out += job.part.out.stride) {
    for (size_t i = 0; i < width; i += kLanes) {
      StoreOut(AddNeighbours<kLevels>(sums, r * kPanelRows + i), bias != nullptr ? bias + i : nullptr,
               out + i, width - i);
    }
  }
}

/// After the products of a block.
template <typename T>
HWY_INLINE void CloseBlock(const Job<T>& job, const Block& block, size_t x_row, size_t rows, size_t row,
                           TileSums& sums) {
  if (!block.closes_segment) return;
  if (block.scales != nullptr || kWidenedInverse<T> != 1)
    CloseSegment<T>(block, rows * kPanelRows, row, sums);
  if (!block.closes_run || SumsOf<T>(block, sums) != sums.segment) return;
  switch (FinishedSums(block)) {
    case 0:
      return CloseRun<0>(job, block, x_row, rows, row, sums);
    case 1:
      return CloseRun<1>(job, block, x_row, rows, row, sums);
    case 2:
      return CloseRun<2>(job, block, x_row, rows, row, sums);
    default:
      return CloseRun<3>(job, block, x_row, rows, row, sums);
  }
}

/// Rows of x [x_row, x_row + kRows) and kPanels panels from weight row `row`: the products of a block of
/// whole partial sums from `weights`, which stand for its columns.
template <size_t kRows, size_t kPanels, size_t kFetch, typename T>
void TileOfRuns(const Job<T>& job, const Block& block, size_t x_row, size_t row, const T* weights,
                size_t weights_step, const std::byte* fetch, TileSums* sums) {
  MultiplyRuns<kRows, kPanels, kFetch>(job.x.data + x_row * job.x.stride + block.first, job.x.stride, weights,
                                       weights_step, block.count / block.runs, fetch, block.run,
                                       block.run + block.runs, job.part.weight.partials, sums);
  for (size_t p = 0; block.in_last_run && p < kPanels; ++p)
    CloseRun<0>(job, block, x_row, kRows, row + p * kPanelRows, sums[p]);
}

/// The same of any other block.
template <size_t kRows, size_t kPanels, size_t kFetch, typename T, typename W>
void TileOfPart(const Job<T>& job, const Block& block, size_t x_row, size_t row, const W* weights,
                size_t weights_step, const std::byte* fetch, TileSums* sums) {
  MultiplyTile<kRows, kPanels, kFetch>(job.x.data + x_row * job.x.stride + block.first, job.x.stride, weights,
                                       weights_step, block.count, fetch, !block.opens_segment,
                                       SumsOf<T>(block, *sums));
  for (size_t p = 0; p < kPanels; ++p) CloseBlock(job, block, x_row, kRows, row + p * kPanelRows, sums[p]);
}

/// Of one panel.
template <size_t kRows, size_t kFetch, typename T, typename W>
HWY_INLINE void Tile(const Job<T>& job, const Block& block, size_t x_row, size_t row, const W* weights,
                     const std::byte* fetch, TileSums* sums) {
  if constexpr (!kScaled<T>) {
    if (block.runs > 0) return TileOfRuns<kRows, 1, kFetch>(job, block, x_row, row, weights, 0, fetch, sums);
  }
  TileOfPart<kRows, 1, kFetch>(job, block, x_row, row, weights, 0, fetch, sums);
}

/// Calls body with `rows` as a constant, in [kLeast, kTileRows].
template <size_t kLeast, class Body>
HWY_INLINE void WithRows(size_t rows, const Body& body) {
  if constexpr (kLeast < kTileRows) {
    if (rows > kLeast) return WithRows<kLeast + 1>(rows, body);
  }
  body(std::integral_constant<size_t, kLeast>());
}

/// Calls body(tile, first row, rows) for tiles of about equal height: 8 rows as 4 + 4, since a short tile
/// waits for its few sums.
template <class Body>
HWY_INLINE void ForTiles(size_t row_begin, size_t row_end, const Body& body) {
  const size_t tiles = CeilDiv(row_end - row_begin, kTileRows);
  for (size_t tile = 0, row = row_begin; tile < tiles; ++tile) {
    const size_t rows = CeilDiv(row_end - row, tiles - tile);
    body(tile, row, rows);
    row += rows;
  }
}

/// One tile of kRows rows: weights pass once, kPanels panels at a time.
template <size_t kRows, size_t kPanels, typename T>
void StreamPanels(const Job<T>& job, size_t x_row, size_t& row, TileSums* sums) {
  for (; row + (kPanels - 1) * kPanelRows < job.col_end; row += kPanels * kPanelRows) {
    for (size_t col = 0; col < job.part.weight.cols;) {
      const Block block = BlockAt<T>(job.part.weight, col, job.part.weight.cols);
      const T* weights = job.panel(row, col);
      const auto* fetch = reinterpret_cast<const std::byte*>(weights) + kFetchAhead;
      if constexpr (kScaled<T>) {
        TileOfPart<kRows, kPanels, 1>(job, block, x_row, row, weights, job.panel_step(), fetch, sums);
      } else {
        TileOfRuns<kRows, kPanels, 1>(job, block, x_row, row, weights, job.panel_step(), fetch, sums);
      }
      col += block.count;
    }
  }
}

template <typename T>
void StreamTile(const Job<T>& job, size_t x_row, size_t rows, size_t col_begin, TileSums* sums) {
  // Two panels at once, since the sums of one would wait for each other longer than for memory; of more rows
  // than one where widening leaves registers for it.
  constexpr size_t kTogether = std::is_same_v<T, Prepared<T>> ? 2 : 1;
  WithRows<1>(rows, [&](auto n) HWY_ATTR {
    size_t row = col_begin;
    if constexpr (n <= kPairedRows) StreamPanels<n, n == 1 ? 2 : kTogether>(job, x_row, row, sums);
    StreamPanels<n, 1>(job, x_row, row, sums);
  });
}

/// All tiles of a block, whose columns `weights` stand for. The first two fetch half of the `next` each.
template <typename T, typename W>
HWY_INLINE void TilesOfBlock(const Job<T>& job, const Block& block, size_t row_begin, size_t row_end,
                             size_t row, const W* weights, const T* next, TileSums* sums) {
  constexpr size_t kFetch = 2 * sizeof(W) / sizeof(T);
  const auto* fetch = reinterpret_cast<const std::byte*>(next);
  const size_t half = block.count * kPanelRows * sizeof(T) / 2;
  ForTiles(row_begin, row_end, [&](size_t tile, size_t x_row, size_t rows) HWY_ATTR {
    WithRows<kTileRows / 2>(rows, [&](auto n) HWY_ATTR {
      if (tile < 2) {
        Tile<n, kFetch>(job, block, x_row, row, weights, fetch + tile * half, sums + tile);
      } else {
        Tile<n, 0>(job, block, x_row, row, weights, fetch, sums + tile);
      }
    });
  });
}

/// Two or three tiles: the first brings a block near, and the others find it there.
template <typename T>
void FewTiles(const Job<T>& job, size_t row_begin, size_t row_end, size_t col_begin, TileSums* sums) {
  for (size_t row = col_begin; row < job.col_end; row += kPanelRows) {
    for (size_t col = 0; col < job.part.weight.cols;) {
      const Block block = BlockAt<T>(job.part.weight, col, BlockColumns<T>(cpu::kFewTilesBlockBytes));
      const T* weights = job.panel(row, col);
      TilesOfBlock(job, block, row_begin, row_end, row, weights, weights + block.count * kPanelRows, sums);
      col += block.count;
    }
  }
}

template <typename T>
HWY_INLINE const Prepared<T>* PrepareBlock(const T* HWY_RESTRICT from, size_t columns,
                                           float* HWY_RESTRICT scratch) {
  if constexpr (std::is_same_v<Prepared<T>, T>) {
    return from;
  } else {
    const DF d;
    for (size_t k = 0; k < columns; ++k) {
      VF low, high;
      LoadColumn(from + k * kPanelRows, low, high);
      hn::Store(low, d, scratch + k * kPanelRows);
      hn::Store(high, d, scratch + k * kPanelRows + kLanes);
    }
    return scratch;
  }
}

/// Many tiles: a block of a panel stays in L1 while the rows of x pass from L2.
template <typename T>
void ManyTiles(const Job<T>& job, size_t row_begin, size_t row_end, size_t col_begin, float* scratch,
               TileSums* sums) {
  using W = Prepared<T>;
  const size_t tiles = CeilDiv(row_end - row_begin, kTileRows);
  for (size_t group = col_begin; group < job.col_end; group += cpu::kGroupRows) {
    const size_t group_end = std::min(job.col_end, group + cpu::kGroupRows);
    for (size_t col = 0; col < job.part.weight.cols;) {
      const Block block = BlockAt<T>(job.part.weight, col, BlockColumns<W>(cpu::kBlockBytes));
      for (size_t row = group; row < group_end; row += kPanelRows) {
        const W* weights = PrepareBlock(job.panel(row, col), block.count, scratch);
        TileSums* panel_sums = sums + (row - group) / kPanelRows * tiles;
        const bool more = row + kPanelRows < group_end;
        const T* next = more ? job.panel(row + kPanelRows, col) : job.panel(group, col + block.count);
        TilesOfBlock(job, block, row_begin, row_end, row, weights, next, panel_sums);
      }
      col += block.count;
    }
  }
}

template <typename T>
void LinearRange(const Job<T>& job, size_t row_begin, size_t row_end, size_t col_begin, float* scratch) {
  const size_t rows = row_end - row_begin;
  auto* sums = reinterpret_cast<TileSums*>(scratch + cpu::kBlockBytes / sizeof(float));
  if (rows <= kTileRows) {
    StreamTile(job, row_begin, rows, col_begin, sums);
  } else if (std::is_same_v<T, Prepared<T>> && rows <= cpu::kFewTiles * kTileRows) {
    FewTiles(job, row_begin, row_end, col_begin, sums);
  } else {
    ManyTiles(job, row_begin, row_end, col_begin, scratch, sums);
  }
}

void LinearBlockImpl(const Matrix& x, const LinearPart& part, size_t row_begin, size_t row_end,
                     size_t col_begin, size_t col_end, float* scratch) {
  const auto run = [&](auto type) HWY_ATTR {
    LinearRange<decltype(type)>({x, part, col_end}, row_begin, row_end, col_begin, scratch);
  };
  switch (part.weight.dtype) {
    case Dtype::kF32:
      return run(float());
    case Dtype::kF16:
      return run(F16());
    case Dtype::kBF16:
      return run(BF16());
    case Dtype::kF8E4M3:
      return run(F8E4M3());
  }
}

size_t LinearScratchBytesImpl() {
  static_assert(sizeof(TileSums) % 64 == 0 && cpu::kGroupRows % kPanelRows == 0);
  const size_t tiles = CeilDiv(cpu::kLinearMaxRows, kTileRows);
  return cpu::kBlockBytes + tiles * (cpu::kGroupRows / kPanelRows) * sizeof(TileSums);
}

size_t LinearBlockColsImpl(size_t rows, size_t k, Dtype dtype) {
  if (rows > cpu::kFewTiles * kTileRows) return cpu::kGroupRows;
  // About 128 KiB of weights: some 10 us of reading, so that taking a chunk is cheap and a late core costs
  // little.
  constexpr size_t kChunkBytes = size_t{128} << 10;
  const size_t least = kPanelRows * (rows <= kPairedRows ? 2 : 1);
  return std::clamp<size_t>(RoundDown(kChunkBytes / (k * DtypeBytes(dtype)), least), least, 256);
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(LinearBlockImpl);
HWY_EXPORT(LinearScratchBytesImpl);
HWY_EXPORT(LinearBlockColsImpl);
namespace cpu {

size_t LinearScratchBytes() { return HWY_DYNAMIC_DISPATCH(LinearScratchBytesImpl)(); }

size_t LinearBlockCols(size_t rows, size_t k, Dtype dtype) {
  return HWY_DYNAMIC_DISPATCH(LinearBlockColsImpl)(rows, k, dtype);
}

void LinearBlock(const Matrix& x, const LinearPart& part, size_t row_begin, size_t row_end, size_t col_begin,
                 size_t col_end, float* scratch) {
  HWY_DYNAMIC_DISPATCH(LinearBlockImpl)(x, part, row_begin, row_end, col_begin, col_end, scratch);
}

}  // namespace cpu
}  // namespace skein
#endif
