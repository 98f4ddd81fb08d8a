#pragma once

#include <cstring>

#include "core/float_bits.h"
#include "cpu/kv_row.h"

/// What a row of the KV cache stands for, read element by element.
namespace skein::test {

inline void ReadKVRow(const KVCacheLayer& layer, const cpu::KVRowRun& run, size_t n, float* out) {
  const size_t size = DtypeBytes(layer.dtype);
  const std::byte* from = run.head + run.row * layer.RowBytes() + run.first * size;
  const float scale =
      !HasScales(layer.dtype) ? 1 : layer.Scales(run.head)[(run.first == 0 ? 0 : layer.block_size) + run.row];
  for (size_t i = 0; i < n; ++i) {
    uint16_t half;
    switch (layer.dtype) {
      case KVCacheDtype::kF32:
        std::memcpy(out + i, from + i * 4, 4);
        break;
      case KVCacheDtype::kF16:
      case KVCacheDtype::kBF16:
        std::memcpy(&half, from + i * 2, 2);
        out[i] = layer.dtype == KVCacheDtype::kF16 ? FloatFromF16(half) : FloatFromBF16(half);
        break;
      case KVCacheDtype::kF8E4M3:
        out[i] = FloatFromF8E4M3(static_cast<uint8_t>(from[i])) * scale;
        break;
      case KVCacheDtype::kI8:
        out[i] = static_cast<float>(static_cast<int8_t>(from[i])) * scale;
        break;
    }
  }
}

}  // namespace skein::test
