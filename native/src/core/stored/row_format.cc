#include "core/stored/row_format.h"

#include <algorithm>
#include <cstring>

#include "core/float_bits.h"

namespace skein {

void WidenFloats(const void* from, Dtype dtype, size_t count, float* out) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  const auto half = [&](size_t i) {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * i, 2);
    return bits;
  };
  switch (dtype) {
    case Dtype::kF32:
      std::memcpy(out, from, count * sizeof(float));
      break;
    case Dtype::kF16:
      for (size_t i = 0; i < count; ++i) out[i] = FloatFromF16(half(i));
      break;
    case Dtype::kBF16:
      for (size_t i = 0; i < count; ++i) out[i] = FloatFromBF16(half(i));
      break;
    case Dtype::kF8E4M3:
      for (size_t i = 0; i < count; ++i) out[i] = FloatFromF8E4M3(bytes[i]);
      break;
  }
}

void DequantizeRow(const RowFormat& format, const RowBlock& block, size_t index,
                   std::span<const uint32_t> column_order, float* out) {
  const size_t cols = format.cols, groups = format.groups();
  const uint8_t* elements = block.elements.data() + index * cols * format.element_bytes();
  if (format.bits == 0) WidenFloats(elements, format.dtype, cols, out);
  for (size_t g = 0; g < groups; ++g) {
    const size_t factor = index * groups + g;
    const float scale = block.scales[factor];
    const int32_t zero = format.zeros ? block.zeros[factor] : format.bits == 4 && !format.mins ? 8 : 0;
    const size_t end = std::min(cols, (g + 1) * format.group);
    for (size_t c = g * format.group; c < end; ++c) {
      if (format.bits == 0) {
        out[c] *= scale;
        continue;
      }
      const int32_t code = format.bits == 4 ? elements[c] : static_cast<int8_t>(elements[c]);
      const float value = static_cast<float>(code - zero) * scale;
      const size_t to = column_order.empty() ? c : column_order[c];
      out[to] = format.mins ? value + block.mins[factor] : value;
    }
  }
}

}  // namespace skein
