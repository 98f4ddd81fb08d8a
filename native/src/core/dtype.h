#pragma once

#include <cstddef>
#include <cstdint>

namespace skein {

/// Storage type of a tensor or of the KV cache. Arithmetic is always f32.
enum class Dtype { kF32, kF16, kBF16 };

/// 16-bit patterns; distinct types, so that kernels can be instantiated per storage type.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

inline size_t DtypeBytes(Dtype dtype) { return dtype == Dtype::kF32 ? 4 : 2; }

inline const char* DtypeName(Dtype dtype) {
  return dtype == Dtype::kF32 ? "f32" : dtype == Dtype::kF16 ? "f16" : "bf16";
}

}  // namespace skein
