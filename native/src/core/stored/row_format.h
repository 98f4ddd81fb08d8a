#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/checked_math.h"
#include "core/dtype.h"

namespace skein {

/// What the rows of a stored matrix are made of, whatever the checkpoint calls it.
/// Floats (`bits` is 0): elements of `dtype`; those of kF8E4M3 stand for themselves times a scale.
/// Integers: codes of 4 bits (0..15), one a byte, or of 8 bits (-128..127), that stand for (code - zero) *
/// scale or code * scale + min. Without zeros and mins the zero is 8 with 4 bits and 0 with 8.
struct RowFormat {
  size_t rows = 0;
  size_t cols = 0;
  /// Partial sums of a product with these columns; see PartialSums.
  size_t partials = 1;
  uint32_t bits = 0;
  Dtype dtype = Dtype::kF32;
  /// Columns that share a scale, zero and min; 0 for floats without scales.
  uint32_t group = 0;
  /// The narrowest type that holds the scales exactly.
  Dtype scale_dtype = Dtype::kF32;
  bool zeros = false;
  bool mins = false;
  /// Columns may come in another order than the matrix has them, so that groups are runs.
  bool reordered = false;
  bool row_scaled_activations = false;

  size_t groups() const { return group == 0 ? 0 : CeilDiv(cols, group); }
  size_t element_bytes() const { return bits == 0 ? DtypeBytes(dtype) : 1; }
};

/// Some rows of a matrix in its RowFormat. Reused from block to block.
struct RowBlock {
  /// [count][cols] floats or codes.
  std::vector<uint8_t> elements;
  /// [count][groups] each; empty where the format has none.
  std::vector<float> scales;
  std::vector<int8_t> zeros;
  std::vector<float> mins;
  /// Readers' own.
  std::vector<uint8_t> stored, factors;

  void Resize(const RowFormat& format, size_t count) {
    elements.resize(count * format.cols * format.element_bytes());
    scales.resize(count * format.groups());
    zeros.resize(format.zeros ? count * format.groups() : 0);
    mins.resize(format.mins ? count * format.groups() : 0);
  }
};

/// Row `index` of `block` as f32 [format.cols], in the matrix's own order of columns. `column_order`: column
/// c of the block is column column_order[c] of the matrix; empty for the same order.
void DequantizeRow(const RowFormat& format, const RowBlock& block, size_t index,
                   std::span<const uint32_t> column_order, float* out);

/// `count` elements of `dtype`, without alignment, as f32.
void WidenFloats(const void* from, Dtype dtype, size_t count, float* out);

}  // namespace skein
