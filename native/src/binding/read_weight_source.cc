#include "binding/read_weight_source.h"

#include <optional>

namespace skein::binding {
namespace {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

TensorDtype ReadTensorDtype(const Field& field) {
  const std::string name = field.String();
  for (int dtype = 0; dtype <= static_cast<int>(TensorDtype::kQ6_K); ++dtype) {
    if (name == InfoOf(static_cast<TensorDtype>(dtype)).name) return static_cast<TensorDtype>(dtype);
  }
  field.Fail("the name of a tensor type");
}

std::vector<uint64_t> ReadShape(const Field& field) {
  std::vector<uint64_t> shape;
  for (uint32_t i = 0, n = field.length(); i < n; ++i) {
    shape.push_back(static_cast<uint64_t>(field.at(i).Integer(0, kMaxSafeInteger)));
  }
  return shape;
}

TensorSource ReadTensorSource(const Field& field) {
  TensorSource source;
  source.name = field["name"].String();
  source.file = field["file"].String();
  source.offset_bytes = static_cast<uint64_t>(field["offsetBytes"].Integer(0, kMaxSafeInteger));
  source.size_bytes = static_cast<uint64_t>(field["sizeBytes"].Integer(0, kMaxSafeInteger));
  source.dtype = ReadTensorDtype(field["dtype"]);
  source.shape = ReadShape(field["shape"]);
  return source;
}

std::optional<TensorSource> ReadTensorOrNull(const Field& field) {
  if (field.IsNull()) return std::nullopt;
  return ReadTensorSource(field);
}

uint32_t ReadBits(const Field& field) {
  const int64_t bits = field.Integer(4, 8);
  if (bits != 4 && bits != 8) field.Fail("4 or 8");
  return static_cast<uint32_t>(bits);
}

uint32_t ReadGroupSize(const Field& field) { return static_cast<uint32_t>(field.Integer(1, INT32_MAX)); }
/// 0 stands for null.
uint32_t ReadGroupSizeOrNull(const Field& field) { return field.IsNull() ? 0 : ReadGroupSize(field); }

StoredWeight ReadStoredWeight(const Field& field) {
  const std::string format = field["format"].String();
  const auto tensor = [&](const char* name) { return ReadTensorSource(field[name]); };
  if (format == "plain") return PlainWeight{tensor("tensor")};
  if (format == "gptq") {
    return GptqWeight{.bits = ReadBits(field["bits"]),
                      .group_size = ReadGroupSizeOrNull(field["groupSize"]),
                      .qweight = tensor("qweight"),
                      .qzeros = tensor("qzeros"),
                      .scales = tensor("scales"),
                      .g_idx = ReadTensorOrNull(field["gIdx"]),
                      .zero_offset = static_cast<uint32_t>(field["zeroOffset"].Integer(0, 1))};
  }
  if (format == "awq") {
    return AwqWeight{.group_size = ReadGroupSize(field["groupSize"]),
                     .qweight = tensor("qweight"),
                     .qzeros = tensor("qzeros"),
                     .scales = tensor("scales")};
  }
  if (format == "packed") {
    return PackedWeight{.bits = ReadBits(field["bits"]),
                        .group_size = ReadGroupSizeOrNull(field["groupSize"]),
                        .packed = tensor("packed"),
                        .scale = tensor("scale"),
                        .zero_point = ReadTensorOrNull(field["zeroPoint"]),
                        .g_idx = ReadTensorOrNull(field["gIdx"])};
  }
  if (format == "int8") {
    return Int8Weight{.group_size = ReadGroupSizeOrNull(field["groupSize"]),
                      .weight = tensor("weight"),
                      .scale = tensor("scale"),
                      .zero_point = ReadTensorOrNull(field["zeroPoint"]),
                      .row_scaled_activations = field["rowScaledActivations"].Boolean()};
  }
  if (format != "fp8") field["format"].Fail("'plain', 'gptq', 'awq', 'packed', 'int8' or 'fp8'");
  Fp8Weight weight{.weight = tensor("weight"), .scale = tensor("scale")};
  if (const Field block = field["blockShape"]; !block.IsNull()) {
    if (block.length() != 2) block.Fail("two sizes");
    weight.block_rows = ReadGroupSize(block.at(0));
    weight.block_cols = ReadGroupSize(block.at(1));
  }
  return weight;
}

WeightQuantization ReadQuantization(const Field& field) {
  if (field.IsNull()) return WeightQuantization::kNone;
  const std::string name = field.String();
  if (name == "int8") return WeightQuantization::kInt8;
  if (name == "int4") return WeightQuantization::kInt4;
  if (name == "int4g128") return WeightQuantization::kInt4G128;
  if (name == "fp8") return WeightQuantization::kFp8;
  field.Fail("null, 'int8', 'int4', 'int4g128' or 'fp8'");
}

}  // namespace

WeightSource ReadWeightSource(const Field& field) {
  return {.name = field["name"].String(),
          .shape = ReadShape(field["shape"]),
          .stored = ReadStoredWeight(field["stored"]),
          .first_row = static_cast<uint64_t>(field["firstRow"].Integer(0, kMaxSafeInteger)),
          .first_col = static_cast<uint64_t>(field["firstCol"].Integer(0, kMaxSafeInteger)),
          .quantize = ReadQuantization(field["quantize"])};
}

}  // namespace skein::binding
