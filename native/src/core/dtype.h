#pragma once

#include <cstddef>
#include <cstdint>

namespace skein {

/// Storage type of a tensor. Arithmetic is always f32.
enum class Dtype { kF32, kF16, kBF16, kF8E4M3 };

/// Bit patterns; distinct types, so that kernels can be instantiated per storage type.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};
/// 4 exponent bits, 3 of mantissa, no infinity: NaN is 0x7f and 0xff, the largest number 448.
struct F8E4M3 {
  uint8_t bits;
};

constexpr size_t DtypeBytes(Dtype dtype) {
  return dtype == Dtype::kF32 ? 4 : dtype == Dtype::kF8E4M3 ? 1 : 2;
}

inline const char* DtypeName(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return "f32";
    case Dtype::kF16:
      return "f16";
    case Dtype::kBF16:
      return "bf16";
    case Dtype::kF8E4M3:
      return "f8e4m3";
  }
  return "";
}

}  // namespace skein
