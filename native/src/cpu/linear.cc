#include "cpu/linear.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/dot_tile-inl.h"
// clang-format on

#ifndef SKEIN_CPU_LINEAR_ONCE
#define SKEIN_CPU_LINEAR_ONCE
namespace skein::cpu {
// A dot product is a sum over blocks of this many columns: part of every result, so never tuned per machine.
constexpr size_t kBlockK = 1024;
// Weight rows widened at once: 64 x 1024 floats are 256 KiB, half of a small L2.
constexpr size_t kPanelCols = 64;
// Up to here weights are used straight from memory; beyond, widening them once pays.
constexpr size_t kDirectMaxRows = 16;
}  // namespace skein::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Adds one block's sums into the output; the first block stores, the last adds the bias.
struct Accumulate {
  float* out;
  size_t stride;
  const float* bias;  // null unless this is the last block
  size_t cols;
  bool first;

  HWY_INLINE void operator()(size_t row, hn::Vec128<float> sums) const {
    const hn::Full128<float> d;
    float* p = out + row * stride;
    if (cols == kTileCols) {
      if (!first) sums = hn::Add(hn::LoadU(d, p), sums);
      if (bias != nullptr) sums = hn::Add(sums, hn::LoadU(d, bias));
      hn::StoreU(sums, d, p);
      return;
    }
    HWY_ALIGN float lanes[kTileCols];
    hn::Store(sums, d, lanes);
    for (size_t i = 0; i < cols; ++i) {
      const float sum = first ? lanes[i] : p[i] + lanes[i];
      p[i] = bias != nullptr ? sum + bias[i] : sum;
    }
  }
};

template <typename T>
void LinearRange(const Matrix& x, const LinearPart& part, size_t row_begin, size_t row_end, size_t col_begin,
                 size_t col_end, float* HWY_RESTRICT scratch) {
  const auto* weight = static_cast<const T*>(part.weight.data);
  const size_t total_k = part.weight.cols;
  const size_t last_row = part.weight.rows - 1;
  const size_t rows = row_end - row_begin;
  const bool direct = rows <= cpu::kDirectMaxRows;
  const float* x_rows = x.data + row_begin * x.stride;
  float* out_rows = part.out.data + row_begin * part.out.stride;
  const auto row_at = [&](size_t col, size_t k)
                          HWY_ATTR { return weight + std::min(col, last_row) * total_k + k; };
  const auto accumulate = [&](size_t col, size_t k, size_t n) HWY_ATTR {
    const bool last = k + n == total_k;
    return Accumulate{out_rows + col, part.out.stride,
                      last && part.bias != nullptr ? part.bias + col : nullptr,
                      std::min(kTileCols, col_end - col), k == 0};
  };

  if (direct) {
    for (size_t col = col_begin; col < col_end; col += kTileCols) {
      const T* next = row_at(col + 2 * kTileCols <= part.weight.rows ? col + kTileCols : col, 0);
      for (size_t k = 0; k < total_k; k += cpu::kBlockK) {
        const size_t n = std::min(cpu::kBlockK, total_k - k);
        RowSource<T> source{{row_at(col, k), row_at(col + 1, k), row_at(col + 2, k), row_at(col + 3, k)}};
        // Measured: with one or two rows memory is the limit, and fetching in the order of memory gains a
        // fifth, because the processor's own prefetcher follows; with more, fetching what the same step of
        // the next tile reads is better.
        source.next_scale = rows <= 2 ? kTileCols : 1;
        source.next_step = rows <= 2 ? 64 / sizeof(T) : total_k;
        source.next = next + k * source.next_scale;
        DotRows(x_rows + k, x.stride, rows, source, n, accumulate(col, k, n));
      }
    }
    return;
  }
  for (size_t panel = col_begin; panel < col_end; panel += cpu::kPanelCols) {
    const size_t panel_end = std::min(col_end, panel + cpu::kPanelCols);
    for (size_t k = 0; k < total_k; k += cpu::kBlockK) {
      const size_t n = std::min(cpu::kBlockK, total_k - k);
      const size_t packed = PackedFloats(n);
      float* to = scratch;
      for (size_t col = panel; col < panel_end; col += kTileCols, to += packed) {
        const T* group[kTileCols] = {row_at(col, k), row_at(col + 1, k), row_at(col + 2, k),
                                     row_at(col + 3, k)};
        PackRows(group, n, to);
      }
      // The block that is packed next; past the end it is this one again, which costs nothing.
      const bool last_k = k + n == total_k;
      const size_t next_panel =
          last_k && panel + cpu::kPanelCols <= last_row ? panel + cpu::kPanelCols : panel;
      const size_t next_k = last_k ? 0 : k + n;
      size_t fetched = 0;
      // Rows outside, columns inside: the rows of a tile stay in L1 while the panel passes from L2.
      for (size_t r = 0; r < rows; r += kMaxTileRows) {
        const size_t tile_rows = std::min(kMaxTileRows, rows - r);
        const float* x_tile = x_rows + r * x.stride + k;
        const float* from = scratch;
        for (size_t col = panel; col < panel_end; col += kTileCols, from += packed) {
          Accumulate out = accumulate(col, k, n);
          out.out += r * part.out.stride;
          if (fetched < cpu::kPanelCols) {
            const PackedAheadSource<T> source{
                {from}, {row_at(next_panel + fetched, next_k), row_at(next_panel + fetched + 1, next_k)}};
            fetched += 2;
            DotRows(x_tile, x.stride, tile_rows, source, n, out);
          } else {
            DotRows(x_tile, x.stride, tile_rows, PackedSource{from}, n, out);
          }
        }
      }
    }
  }
}

void LinearBlockImpl(const Matrix& x, const LinearPart& part, size_t row_begin, size_t row_end,
                     size_t col_begin, size_t col_end, float* scratch) {
  switch (part.weight.dtype) {
    case Dtype::kF32:
      return LinearRange<float>(x, part, row_begin, row_end, col_begin, col_end, scratch);
    case Dtype::kF16:
      return LinearRange<F16>(x, part, row_begin, row_end, col_begin, col_end, scratch);
    case Dtype::kBF16:
      return LinearRange<BF16>(x, part, row_begin, row_end, col_begin, col_end, scratch);
    case Dtype::kF8E4M3:
      return LinearRange<F8E4M3>(x, part, row_begin, row_end, col_begin, col_end, scratch);
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(LinearBlockImpl);
namespace cpu {

size_t LinearScratchBytes() { return kPanelCols * kBlockK * sizeof(float); }

size_t LinearBlockCols(size_t rows, size_t k, Dtype dtype) {
  if (rows > kDirectMaxRows) return kPanelCols;
  // About 128 KiB of weights: some 10 us of reading, so that taking a chunk is cheap and a late core costs
  // little.
  constexpr size_t kChunkBytes = size_t{128} << 10;
  return std::clamp<size_t>(kChunkBytes / (k * DtypeBytes(dtype)) / 4 * 4, 4, 256);
}

void LinearBlock(const Matrix& x, const LinearPart& part, size_t row_begin, size_t row_end, size_t col_begin,
                 size_t col_end, float* scratch) {
  HWY_DYNAMIC_DISPATCH(LinearBlockImpl)(x, part, row_begin, row_end, col_begin, col_end, scratch);
}

}  // namespace cpu
}  // namespace skein
#endif
