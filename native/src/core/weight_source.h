#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/dtype.h"

/// Where weights come from: the C++ side of `native/lib/weight-source.ts`, same names. Unchecked.
namespace skein {

/// What a file's tensor may hold: the types that are computed with, and those of quantized weights.
enum class TensorDtype {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kI8,
  kU8,
  kI32,
  kI64,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ4_K,
  kQ5_K,
  kQ6_K
};

/// A run of `values` neighbours of a row takes `bytes`; one value, but for ggml's blocks.
struct TensorDtypeInfo {
  const char* name;
  uint32_t values;
  uint32_t bytes;
};

inline const TensorDtypeInfo& InfoOf(TensorDtype dtype) {
  static constexpr TensorDtypeInfo kInfos[] = {
      {"f32", 1, 4},    {"f16", 1, 2},      {"bf16", 1, 2},     {"f8e4m3", 1, 1},  {"i8", 1, 1},
      {"u8", 1, 1},     {"i32", 1, 4},      {"i64", 1, 8},      {"q8_0", 32, 34},  {"q4_0", 32, 18},
      {"q4_1", 32, 20}, {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210}};
  return kInfos[static_cast<size_t>(dtype)];
}

/// The same type for arithmetic, where there is one.
inline std::optional<Dtype> FloatDtype(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kF32:
      return Dtype::kF32;
    case TensorDtype::kF16:
      return Dtype::kF16;
    case TensorDtype::kBF16:
      return Dtype::kBF16;
    default:
      return std::nullopt;
  }
}

struct TensorSource {
  std::string name;
  std::string file;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
  TensorDtype dtype = TensorDtype::kF32;
  std::vector<uint64_t> shape;
};

/// A group size of 0 stands for native.ts's null: all columns.
struct PlainWeight {
  TensorSource tensor;
};

struct GptqWeight {
  uint32_t bits = 4;
  uint32_t group_size = 0;
  TensorSource qweight, qzeros, scales;
  std::optional<TensorSource> g_idx;
  uint32_t zero_offset = 0;
};

struct AwqWeight {
  uint32_t group_size = 0;
  TensorSource qweight, qzeros, scales;
};

struct PackedWeight {
  uint32_t bits = 4;
  uint32_t group_size = 0;
  TensorSource packed, scale;
  std::optional<TensorSource> zero_point, g_idx;
};

struct Int8Weight {
  uint32_t group_size = 0;
  TensorSource weight, scale;
  std::optional<TensorSource> zero_point;
  bool row_scaled_activations = false;
};

struct Fp8Weight {
  TensorSource weight, scale;
  /// Rows and columns that share a scale; 0 where `scale` has no blocks.
  uint32_t block_rows = 0, block_cols = 0;
};

using StoredWeight = std::variant<PlainWeight, GptqWeight, AwqWeight, PackedWeight, Int8Weight, Fp8Weight>;

enum class WeightQuantization { kNone, kInt8, kInt4, kInt4G128, kFp8 };

struct WeightSource {
  std::string name;
  /// [n, k], or [n].
  std::vector<uint64_t> shape;
  StoredWeight stored;
  uint64_t first_row = 0;
  /// The first of the stored columns that it takes, shape[1] in all.
  uint64_t first_col = 0;
  WeightQuantization quantize = WeightQuantization::kNone;
};

/// All of a tensor of floats, as it is.
inline WeightSource PlainSource(TensorSource tensor) {
  WeightSource source;
  source.name = tensor.name;
  source.shape = tensor.shape;
  source.stored = PlainWeight{std::move(tensor)};
  return source;
}

}  // namespace skein
