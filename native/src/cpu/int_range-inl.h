// Integer linears of some rows and panels, whatever the form of the codes. Included once per target.
#if defined(SKEIN_CPU_INT_RANGE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_INT_RANGE_INL_H
#undef SKEIN_CPU_INT_RANGE_INL_H
#else
#define SKEIN_CPU_INT_RANGE_INL_H
#endif

#include <algorithm>
#include <type_traits>

#include "core/checked_math.h"
#include "cpu/int_linear_kernels.h"
#include "cpu/int_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// One thread's scratch.
struct Room {
  uint8_t* codes;  // [kUnpackChunkK / 4][2][kBytes]
  float* sums;     // [kPendingRuns][rows][kIntPanel]

  static constexpr size_t kCodes = cpu::kUnpackChunkK / 2 * kBytes;
  static constexpr size_t kSums = cpu::kPendingRuns * cpu::kIntLinearMaxRows * kIntPanel;
  static_assert(kCodes + kSums * sizeof(float) == kIntPanel * cpu::kIntScratchRowBytes);
  explicit Room(float* scratch)
      : codes(reinterpret_cast<uint8_t*>(scratch)), sums(reinterpret_cast<float*>(codes + kCodes)) {}
};

/// Of panel `panel` whose columns are `padded` in blocks of `block_cols`.
HWY_INLINE PanelFactors FactorsOf(const WeightView& weight, size_t panel, size_t padded, size_t block_cols) {
  const size_t groups = CeilDiv(weight.cols, weight.group), first = panel * groups * kIntPanel;
  return {.scales = static_cast<const std::byte*>(weight.scales) + first * DtypeBytes(weight.scale_dtype),
          .scale_dtype = weight.scale_dtype,
          .zeros = weight.zeros != nullptr ? weight.zeros + first : nullptr,
          .mins = weight.mins != nullptr ? weight.mins + first : nullptr,
          .group_blocks = (groups == 1 ? padded : weight.group) / block_cols,
          .panel_groups = groups};
}

HWY_INLINE void StoreRow(const float* sums, const float* bias, size_t cols, float* out) {
  const DF d;
  size_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    VF v = hn::LoadU(d, sums + i);
    if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + i));
    hn::StoreU(v, d, out + i);
  }
  for (; i < cols; ++i) out[i] = bias != nullptr ? sums[i] + bias[i] : sums[i];
}

template <class Dots, bool kNibbles, bool kAffine, size_t kSteps>
void Range(const cpu::QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
           size_t col_begin, size_t col_end, float* scratch) {
  const WeightView& weight = part.weight;
  constexpr size_t kBlockCols = 4 * kSteps;
  using Packed = std::conditional_t<kNibbles, NibbleSource<Dots>, ByteSource<Dots>>;
  const size_t rows = row_end - row_begin, padded = RoundUp(weight.cols, cpu::kQuantBlock);
  const size_t panel_bytes = padded / 4 * Packed::kStepBytes;
  const size_t run_blocks = padded / weight.partials / kBlockCols;
  const bool unpack = kNibbles && rows >= cpu::kUnpackMinRows;
  const size_t chunk = unpack ? cpu::kUnpackChunkK : cpu::kIntChunkK;
  const Room room(scratch);
  // A single tile fetches what it will soon read, several the next chunk, which follows in memory: a share
  // each, so that memory is read all the time. Codes that are unpacked are fetched there.
  const size_t tiles = CeilDiv(rows, Packed::kMostRows);
  const size_t ahead = tiles == 1 ? cpu::kIntAhead : std::min(chunk, padded) / 4 * Packed::kStepBytes;
  const size_t fetch_step = 64 / tiles;
  for (size_t col = col_begin; col < col_end; col += kIntPanel) {
    const size_t panel = col / kIntPanel;
    const auto* codes = static_cast<const uint8_t*>(weight.data) + panel * panel_bytes;
    const PanelFactors factors = FactorsOf(weight, panel, padded, kBlockCols);
    for (size_t k = 0; k < padded; k += chunk) {
      const size_t cols = std::min(chunk, padded - k), block = k / kBlockCols;
      const auto* chunk_codes = codes + k / 4 * Packed::kStepBytes;
      const size_t x_block = row_begin * x.blocks + k / cpu::kQuantBlock;
      TileInput tile{.x = x.codes + row_begin * x.stride + k,
                     .x_stride = x.stride,
                     .x_scales = x.scales + x_block,
                     .x_sums = x.sums + x_block,
                     .x_zeros = x.zeros + x_block,
                     .x_blocks = x.blocks,
                     .x_share = x.block / kBlockCols,
                     .codes = chunk_codes,
                     .fetch = chunk_codes + ahead,
                     .fetch_step = fetch_step,
                     .factors = factors,
                     .first_block = block,
                     .blocks = cols / kBlockCols,
                     .run_blocks = run_blocks,
                     .run = block / run_blocks,
                     .run_left = run_blocks - block % run_blocks,
                     .sums = room.sums,
                     .level = rows * kIntPanel};
      if constexpr (kNibbles) {
        if (unpack) {
          UnpackNibbles(tile.codes, cols / 4, room.codes);
          tile.codes = room.codes;
          IntTiles<UnpackedSource<Dots>, kAffine, kSteps>(tile, rows);
          continue;
        }
      }
      IntTiles<Packed, kAffine, kSteps>(tile, rows);
    }
    for (size_t r = 0; r < rows; ++r) {
      StoreRow(room.sums + r * kIntPanel, part.bias != nullptr ? part.bias + col : nullptr,
               std::min(kIntPanel, col_end - col), part.Out(row_begin + r, col));
    }
  }
}

/// As IntLinearBlock, of 4-bit codes or of bytes.
template <class Dots, bool kNibbles>
void RangeOf(const cpu::QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
             size_t col_begin, size_t col_end, float* scratch) {
  const WeightView& w = part.weight;
  const bool affine = w.zeros != nullptr || w.mins != nullptr;
  // Scales that change inside 32 columns ask for integer sums of 16.
  const bool halves = w.group % cpu::kQuantBlock != 0 && w.group < w.cols;
  if constexpr (!kNibbles) {
    // Sums of bytes are wide enough for a whole activation block.
    const bool wide = x.block == 128 && !affine && (w.group % 128 == 0 || w.group >= w.cols);
    if (wide) return Range<Dots, false, false, 32>(x, part, row_begin, row_end, col_begin, col_end, scratch);
  }
  const auto range = affine ? (halves ? Range<Dots, kNibbles, true, 4> : Range<Dots, kNibbles, true, 8>)
                            : (halves ? Range<Dots, kNibbles, false, 4> : Range<Dots, kNibbles, false, 8>);
  range(x, part, row_begin, row_end, col_begin, col_end, scratch);
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
