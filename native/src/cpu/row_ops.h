#pragma once

#include <cstdint>
#include <variant>

#include "core/backend.h"
#include "cpu/elementwise.h"
#include "cpu/quantize_rows.h"

/// Operations whose row depends on the same row of their inputs alone. A run of them passes row by row, so
/// that what one leaves in the cache the next finds there, and threads meet once for all.
namespace skein::cpu {

struct EmbedRow {
  WeightView weight;
  /// Below 0: zeros.
  const int32_t* ids;
  float scale;
  Matrix out;
};

struct NormRow {
  RmsNormWeight weight;
  size_t norm_width;
  Matrix x, out;
};

struct RopeRow {
  const Op* op;
  const float *cos, *sin;  // [rows, rotary_dim / 2]
  Matrix x, out;
};

struct GateRow {
  bool gelu;
  Matrix gate, up, out;
};

struct AddRows {
  Matrix a, b, out;
};

/// To elements from `first` on of each head's row in the cache.
struct CacheRow {
  const KVCacheLayer* layer;
  uint32_t part;
  size_t first;
  const StepInput* input;
  const uint32_t *sequences, *positions;  // [rows]
  Matrix x;
};

struct QuantizeRow {
  const uint32_t* column_order;
  bool row_scaled;
  Matrix x;
  QuantizedRows out;
};

using RowOp = std::variant<EmbedRow, NormRow, RopeRow, GateRow, AddRows, CacheRow, QuantizeRow>;

void RunRow(const RowOp& op, size_t row);

/// Elements that a row of it passes.
size_t RowElements(const RowOp& op);

}  // namespace skein::cpu
