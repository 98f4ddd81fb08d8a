#include "cpu/int_linear.h"

#include <algorithm>
#include <bit>

#include "core/checked_math.h"
#include "cpu/int_panels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int_linear.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/int_tile-inl.h"
// clang-format on

#ifndef SKEIN_CPU_INT_LINEAR_ONCE
#define SKEIN_CPU_INT_LINEAR_ONCE
namespace skein::cpu {
// Columns whose scales are widened at once, and whose codes may be unpacked: 16 outputs x 1024 are half of a
// small L1.
constexpr size_t kIntChunkK = 2048;
constexpr size_t kUnpackChunkK = 1024;
// From here on, 4-bit codes are unpacked once for all rows.
constexpr size_t kUnpackMinRows = 24;
// Bytes fetched ahead of a single pass over the weights. With two threads on a busy machine 2048 read 0.67 to
// 0.76 of what memory gave, 512 read 0.54 to 0.59 and 4096 0.54 to 0.67 (4-bit codes).
constexpr size_t kIntAhead = 2048;
// Runs of a sum that wait for their neighbour, and the one in work: of 8 at most 4.
constexpr size_t kPendingRuns = 4;
}  // namespace skein::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

/// One thread's scratch.
struct Room {
  uint8_t* codes;  // [kUnpackChunkK / 4][2][kBytes]
  float* scales;   // [kIntChunkK / 16][kIntPanel]
  float* mins;     // the same
  float* sums;     // [kPendingRuns][rows][kIntPanel]

  static constexpr size_t kFactors = cpu::kIntChunkK / 16 * kIntPanel;
  static constexpr size_t kBytesNeeded =
      cpu::kUnpackChunkK / 2 * kBytes + 2 * kFactors * sizeof(float) +
      cpu::kPendingRuns * cpu::kIntLinearMaxRows * kIntPanel * sizeof(float);
  explicit Room(float* scratch)
      : codes(reinterpret_cast<uint8_t*>(scratch)),
        scales(reinterpret_cast<float*>(codes + cpu::kUnpackChunkK / 2 * kBytes)),
        mins(scales + kFactors),
        sums(mins + kFactors) {}
};

/// The factors of one panel, as they are stored, widened per block of columns.
class PanelFactors {
 public:
  PanelFactors(const WeightView& weight, size_t panel, size_t block_cols)
      : weight_(weight),
        groups_(CeilDiv(weight.cols, weight.group)),
        first_(panel * groups_ * kIntPanel),
        group_blocks_(std::max<size_t>(1, weight.group / block_cols)) {}

  /// Of `blocks` blocks from `first_block` on.
  void Widen(size_t first_block, size_t blocks, const Room& room) const {
    switch (weight_.scale_dtype) {
      case Dtype::kF16:
        return WidenAs<F16>(first_block, blocks, room);
      case Dtype::kBF16:
        return WidenAs<BF16>(first_block, blocks, room);
      default:
        return WidenAs<float>(first_block, blocks, room);
    }
  }

 private:
  template <typename T>
  void WidenAs(size_t first_block, size_t blocks, const Room& room) const {
    const auto* stored = static_cast<const T*>(weight_.scales);
    size_t group = std::min(first_block / group_blocks_, groups_ - 1);
    size_t left = (group + 1) * group_blocks_ - std::min((group + 1) * group_blocks_, first_block);
    float *scales = room.scales, *mins = room.mins;
    while (blocks > 0) {
      const size_t count = group + 1 == groups_ ? blocks : std::min(blocks, left);
      const size_t at = first_ + group * kIntPanel;
      for (size_t half = 0; half < kIntPanel; half += kLanes) {
        const VF scale = LoadF32(stored + at + half);
        Repeat(scale, count, scales + half);
        if (weight_.mins != nullptr) {
          Repeat(hn::LoadU(DF(), weight_.mins + at + half), count, mins + half);
        } else if (weight_.zeros != nullptr) {
          const hn::Rebind<int8_t, DI32> d8;
          const VI32 zero = hn::PromoteTo(DI32(), hn::LoadU(d8, weight_.zeros + at + half));
          Repeat(hn::Neg(hn::Mul(hn::ConvertTo(DF(), zero), scale)), count, mins + half);
        }
      }
      scales += count * kIntPanel;
      mins += count * kIntPanel;
      blocks -= count;
      left = group_blocks_;
      ++group;
    }
  }
  static HWY_INLINE void Repeat(VF v, size_t count, float* out) {
    for (size_t i = 0; i < count; ++i) hn::Store(v, DF(), out + i * kIntPanel);
  }

  const WeightView& weight_;
  size_t groups_, first_, group_blocks_;
};

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

template <class Packed, bool kAffine, size_t kSteps>
void Range(const cpu::QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
           size_t col_begin, size_t col_end, float* scratch) {
  const WeightView& weight = part.weight;
  constexpr size_t kBlockCols = 4 * kSteps;
  constexpr bool kNibbles = std::is_same_v<Packed, NibbleSource>;
  const size_t rows = row_end - row_begin, padded = RoundUp(weight.cols, cpu::kQuantBlock);
  const size_t panel_bytes = padded / 4 * Packed::kStepBytes;
  const size_t run_blocks = padded / weight.partials / kBlockCols;
  const bool unpack = kNibbles && rows >= cpu::kUnpackMinRows;
  const size_t chunk = unpack ? cpu::kUnpackChunkK : cpu::kIntChunkK;
  const Room room(scratch);
  for (size_t col = col_begin; col < col_end; col += kIntPanel) {
    const size_t panel = col / kIntPanel;
    const auto* codes = static_cast<const uint8_t*>(weight.data) + panel * panel_bytes;
    const PanelFactors factors(weight, panel, kBlockCols);
    for (size_t k = 0; k < padded; k += chunk) {
      const size_t cols = std::min(chunk, padded - k), block = k / kBlockCols;
      factors.Widen(block, cols / kBlockCols, room);
      const size_t x_block = row_begin * x.blocks + k / cpu::kQuantBlock;
      TileInput tile{.x = x.codes + row_begin * x.stride + k,
                     .x_stride = x.stride,
                     .x_scales = x.scales + x_block,
                     .x_sums = x.sums + x_block,
                     .x_blocks = x.blocks,
                     .codes = codes + k / 4 * Packed::kStepBytes,
                     .ahead = cpu::kIntAhead,
                     .scales = room.scales,
                     .mins = room.mins,
                     .blocks = cols / kBlockCols,
                     .run_blocks = run_blocks,
                     .run = block / run_blocks,
                     .run_left = run_blocks - block % run_blocks,
                     .sums = room.sums,
                     .level = rows * kIntPanel};
      if (unpack) {
        UnpackNibbles(tile.codes, cols / 4, room.codes);
        tile.codes = room.codes;
        IntTiles<std::conditional_t<kNibbles, UnpackedSource, Packed>, kAffine, kSteps>(tile, rows);
      } else {
        IntTiles<Packed, kAffine, kSteps>(tile, rows);
      }
    }
    for (size_t r = 0; r < rows; ++r) {
      StoreRow(room.sums + r * kIntPanel, part.bias != nullptr ? part.bias + col : nullptr,
               std::min(kIntPanel, col_end - col), part.Out(row_begin + r, col));
    }
  }
}

size_t ScratchBytesImpl() { return Room::kBytesNeeded; }

void IntLinearBlockImpl(const cpu::QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                        size_t col_begin, size_t col_end, float* scratch) {
  const WeightView& w = part.weight;
  const bool affine = w.zeros != nullptr || w.mins != nullptr;
  // Scales that change inside 32 columns ask for integer sums of 16.
  const bool halves = w.group % cpu::kQuantBlock != 0 && w.group < w.cols;
  const auto run = [&](auto source) {
    using Source = decltype(source);
    const auto range = affine ? (halves ? Range<Source, true, 4> : Range<Source, true, 8>)
                              : (halves ? Range<Source, false, 4> : Range<Source, false, 8>);
    range(x, part, row_begin, row_end, col_begin, col_end, scratch);
  };
  w.bits == 4 ? run(NibbleSource()) : run(ByteSource());
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(ScratchBytesImpl);
HWY_EXPORT(IntLinearBlockImpl);
namespace cpu {

size_t IntLinearScratchBytes() { return HWY_DYNAMIC_DISPATCH(ScratchBytesImpl)(); }

size_t IntLinearBlockCols(size_t rows, size_t k, uint32_t bits) {
  const size_t panel = IntPanelRows();
  if (rows >= kUnpackMinRows) return std::max<size_t>(panel, 64);
  // About 128 KiB of weights: some 10 us of reading, so that taking a chunk is cheap and a late core costs
  // little.
  constexpr size_t kChunkBytes = size_t{128} << 10;
  return std::clamp<size_t>(kChunkBytes * 8 / (k * bits), panel, 256) / panel * panel;
}

void IntLinearBlock(const QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                    size_t col_begin, size_t col_end, float* scratch) {
  HWY_DYNAMIC_DISPATCH(IntLinearBlockImpl)(x, part, row_begin, row_end, col_begin, col_end, scratch);
}

}  // namespace cpu
}  // namespace skein
#endif
