#include "cpu/int_panels.h"

#include <algorithm>
#include <cstring>

#include "core/checked_math.h"
#include "core/float_bits.h"
#include "cpu/quantize_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int_panels.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/int_dot-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace {

size_t IntPanelRowsImpl() { return kIntPanel; }

}  // namespace
}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(IntPanelRowsImpl);
namespace cpu {
namespace {

/// Four codes of a row, zeros past its end.
uint32_t Quad(const uint8_t* row, size_t col, size_t cols) {
  uint32_t quad = 0;
  if (row != nullptr && col < cols) std::memcpy(&quad, row + col, std::min<size_t>(4, cols - col));
  return quad;
}

uint32_t WholeQuad(const uint8_t* p) {
  uint32_t quad;
  std::memcpy(&quad, p, sizeof quad);
  return quad;
}

/// `rows` has one pointer per row of the panel, null for rows that do not exist.
void PackCodes(uint32_t bits, const uint8_t* const* rows, size_t panel, size_t cols, std::byte* out) {
  const bool nibbles = bits == 4;
  const size_t lanes = nibbles ? panel / 2 : panel;
  // Nearly all: whole quads of panels without gaps.
  const size_t whole = rows[panel - 1] != nullptr ? RoundDown(cols, 4) : 0;
  for (size_t col = 0; col < whole; col += 4) {
    for (size_t i = 0; i < lanes; ++i, out += 4) {
      uint32_t quad = WholeQuad(rows[i] + col);
      if (nibbles) quad |= WholeQuad(rows[i + lanes] + col) << 4;
      std::memcpy(out, &quad, 4);
    }
  }
  for (size_t col = whole; col < RoundUp(cols, kQuantBlock); col += 4) {
    for (size_t i = 0; i < lanes; ++i, out += 4) {
      uint32_t quad = Quad(rows[i], col, cols);
      if (nibbles) quad |= Quad(rows[i + lanes], col, cols) << 4;
      std::memcpy(out, &quad, 4);
    }
  }
}

void StoreScale(float scale, Dtype dtype, void* out, size_t index) {
  if (dtype == Dtype::kF32) {
    static_cast<float*>(out)[index] = scale;
  } else {
    static_cast<uint16_t*>(out)[index] = dtype == Dtype::kF16 ? F16FromFloat(scale) : BF16FromFloat(scale);
  }
}

float LoadScale(const void* scales, Dtype dtype, size_t index) {
  if (dtype == Dtype::kF32) return static_cast<const float*>(scales)[index];
  const uint16_t bits = static_cast<const uint16_t*>(scales)[index];
  return dtype == Dtype::kF16 ? FloatFromF16(bits) : FloatFromBF16(bits);
}

}  // namespace

size_t IntPanelRows() { return HWY_DYNAMIC_DISPATCH(IntPanelRowsImpl)(); }

IntPanelSizes IntPanelBytes(const IntFormat& format, size_t rows, size_t cols) {
  const size_t padded = RoundUp(rows, IntPanelRows()), factors = padded * CeilDiv(cols, format.group);
  return {padded * RoundUp(cols, kQuantBlock) * format.bits / 8, factors * DtypeBytes(format.scale_dtype),
          format.zeros ? factors : 0, format.mins ? factors * sizeof(float) : 0};
}

void PackIntRows(const IntFormat& format, const IntRows& rows, size_t count, size_t cols, size_t first,
                 std::byte* codes, void* scales, int8_t* zeros, float* mins) {
  const size_t panel = IntPanelRows(), groups = CeilDiv(cols, format.group);
  const size_t panel_bytes = panel * RoundUp(cols, kQuantBlock) * format.bits / 8;
  constexpr size_t kMaxPanel = 64;
  const uint8_t* row[kMaxPanel];
  for (size_t at = 0; at < count; at += panel) {
    const size_t index = (first + at) / panel, here = std::min(panel, count - at);
    for (size_t i = 0; i < panel; ++i) row[i] = i < here ? rows.codes + (at + i) * cols : nullptr;
    PackCodes(format.bits, row, panel, cols, codes + index * panel_bytes);
    for (size_t g = 0; g < groups; ++g) {
      for (size_t i = 0; i < panel; ++i) {
        const size_t to = (index * groups + g) * panel + i, from = (at + i) * groups + g;
        StoreScale(i < here ? rows.scales[from] : 0, format.scale_dtype, scales, to);
        if (format.zeros) zeros[to] = i < here ? rows.zeros[from] : int8_t{0};
        if (format.mins) mins[to] = i < here ? rows.mins[from] : 0.0f;
      }
    }
  }
}

void UnpackIntRow(const WeightView& weight, size_t row, float* out) {
  const size_t panel = IntPanelRows(), lane = row % panel, index = row / panel;
  const size_t groups = CeilDiv(weight.cols, weight.group), half = panel / 2;
  const bool nibbles = weight.bits == 4;
  const size_t lanes = nibbles ? half : panel, shift = lane >= lanes ? 4 : 0;
  const auto* codes = static_cast<const uint8_t*>(weight.data) +
                      index * panel * RoundUp(weight.cols, kQuantBlock) * weight.bits / 8 + lane % lanes * 4;
  for (size_t g = 0; g < groups; ++g) {
    const size_t factor = (index * groups + g) * panel + lane;
    const float scale = LoadScale(weight.scales, weight.scale_dtype, factor);
    const float min = weight.mins != nullptr ? weight.mins[factor] : 0;
    const int32_t zero = weight.zeros != nullptr             ? weight.zeros[factor]
                         : nibbles && weight.mins == nullptr ? 8
                                                             : 0;
    const size_t end = std::min<size_t>(weight.cols, (g + 1) * size_t{weight.group});
    for (size_t c = g * weight.group; c < end; ++c) {
      const uint8_t byte = codes[c / 4 * lanes * 4 + c % 4];
      const int32_t code = nibbles ? byte >> shift & 15 : static_cast<int8_t>(byte);
      out[c] = static_cast<float>(code - zero) * scale;
      if (weight.mins != nullptr) out[c] += min;
    }
  }
}

}  // namespace cpu
}  // namespace skein
#endif
