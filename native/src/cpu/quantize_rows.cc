#include "cpu/quantize_rows.h"

#include <algorithm>
#include <bit>

#include "core/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/quantize_rows.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

using DI32 = hn::RebindToSigned<DF>;
using VI32 = hn::Vec<DI32>;
constexpr size_t kVectors = cpu::kQuantBlock / kLanes;

/// Compared as integers, magnitudes keep their order, and NaN and infinity are above all numbers.
HWY_INLINE VI32 MagnitudeBits(VF v) {
  const DI32 d;
  return hn::And(hn::BitCast(d, v), hn::Set(d, 0x7fffffff));
}

HWY_INLINE int32_t LargestBits(const float* x) {
  VI32 largest = MagnitudeBits(LoadF32(x));
  for (size_t i = 1; i < kVectors; ++i) largest = hn::Max(largest, MagnitudeBits(LoadF32(x + i * kLanes)));
  return hn::GetLane(hn::MaxOfLanes(DI32(), largest));
}

struct Scale {
  float scale, inverse;
};

HWY_INLINE Scale ScaleOf(int32_t largest_bits) {
  // Below this the inverse would not be finite.
  constexpr float kSmallest = 0x1p-118f;
  const float largest = std::bit_cast<float>(largest_bits);
  if (largest < kSmallest) return {0, 0};
  return {largest * (1.0f / 127), 127 / largest};
}

/// 32 codes; returns their sum.
HWY_INLINE int32_t QuantizeBlock(const float* x, float inverse, int8_t* codes) {
  const DI32 d;
  const hn::Rebind<int8_t, DI32> d8;
  const VF factor = hn::Set(DF(), inverse);
  VI32 sum = hn::Zero(d);
  for (size_t i = 0; i < kVectors; ++i) {
    const VI32 code = hn::NearestInt(hn::Mul(LoadF32(x + i * kLanes), factor));
    sum = hn::Add(sum, code);
    hn::StoreU(hn::DemoteTo(d8, code), d8, codes + i * kLanes);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

/// -4 * sum in both halves: eight times a sum is what its codes add with weights whose zero is 8.
HWY_INLINE int32_t PairZeros(int32_t sum) {
  const auto half = static_cast<uint16_t>(-4 * sum);
  return static_cast<int32_t>(uint32_t{half} << 16 | half);
}

/// Where the 32 values lie: in the row, or gathered into `room` with zeros past the end.
HWY_INLINE const float* BlockOf(const float* row, const uint32_t* order, size_t first, size_t cols,
                                float* room) {
  if (order == nullptr && first + cpu::kQuantBlock <= cols) return row + first;
  const size_t count = std::min(cpu::kQuantBlock, cols - first);
  for (size_t i = 0; i < count; ++i) room[i] = row[order == nullptr ? first + i : order[first + i]];
  std::fill(room + count, room + cpu::kQuantBlock, 0.0f);
  return room;
}

void QuantizeRowsImpl(const float* x, size_t stride, const uint32_t* order, bool row_scaled,
                      const cpu::QuantizedRows& out) {
  HWY_ALIGN float room[cpu::kQuantBlock];
  for (size_t r = 0; r < out.rows; ++r) {
    const float* row = x + r * stride;
    Scale scale{};
    if (row_scaled) {
      int32_t largest = 0;
      for (size_t b = 0; b < out.blocks; ++b)
        largest = std::max(largest, LargestBits(BlockOf(row, nullptr, b * cpu::kQuantBlock, out.cols, room)));
      scale = ScaleOf(largest);
    }
    const auto values = [&](size_t b)
                            HWY_ATTR { return BlockOf(row, order, b * cpu::kQuantBlock, out.cols, room); };
    const size_t share = out.block / cpu::kQuantBlock;
    for (size_t b = 0; b < out.blocks; ++b) {
      if (!row_scaled && b % share == 0) {
        int32_t largest = 0;
        for (size_t i = b; i < std::min(out.blocks, b + share); ++i)
          largest = std::max(largest, LargestBits(values(i)));
        scale = ScaleOf(largest);
      }
      const size_t at = r * out.blocks + b;
      out.scales[at] = scale.scale;
      out.sums[at] =
          QuantizeBlock(values(b), scale.inverse, out.codes + r * out.stride + b * cpu::kQuantBlock);
      out.zeros[at] = PairZeros(out.sums[at]);
    }
  }
}

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(QuantizeRowsImpl);
namespace cpu {
namespace {

// A line past a multiple, so that the rows of a tile do not fall into the same cache sets.
size_t CodeStride(size_t cols) { return RoundUp(cols, 64) + 64; }

}  // namespace

size_t QuantizedRowsBytes(size_t rows, size_t cols) {
  const size_t blocks = CeilDiv(cols, kQuantBlock);
  return rows * CodeStride(cols) + 3 * RoundUp(rows * blocks * sizeof(float), 64);
}

QuantizedRows QuantizedRowsAt(std::byte* memory, size_t rows, size_t cols, size_t block) {
  const size_t stride = CodeStride(cols), blocks = CeilDiv(cols, kQuantBlock);
  std::byte* scales = memory + rows * stride;
  const size_t words = RoundUp(rows * blocks * sizeof(float), 64);
  std::byte *sums = scales + words, *zeros = sums + words;
  return {reinterpret_cast<int8_t*>(memory),
          reinterpret_cast<float*>(scales),
          reinterpret_cast<int32_t*>(sums),
          reinterpret_cast<int32_t*>(zeros),
          rows,
          cols,
          stride,
          blocks,
          block};
}

void QuantizeRows(const float* x, size_t stride, const uint32_t* column_order, bool row_scaled,
                  const QuantizedRows& out) {
  HWY_DYNAMIC_DISPATCH(QuantizeRowsImpl)(x, stride, column_order, row_scaled, out);
}

}  // namespace cpu
}  // namespace skein
#endif
