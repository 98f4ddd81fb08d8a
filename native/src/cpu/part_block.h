#pragma once

#include <algorithm>

#include "core/backend.h"
#include "cpu/quantize_rows.h"

/// Blocks of linears whatever their weights are stored as.
namespace skein::cpu {

inline bool IsQuantized(const WeightView& weight) { return weight.layout == WeightLayout::kIntPanels; }

/// Whether two quantized weights read the same codes of their input.
inline bool SameActivations(const WeightView& a, const WeightView& b) {
  return a.column_order == b.column_order && a.row_scaled_activations == b.row_scaled_activations &&
         ActivationBlock(a) == ActivationBlock(b);
}

/// Bytes of scratch one thread needs for PartBlock.
size_t PartScratchBytes();

/// Rows handled by one work item; more tokens become several.
size_t PartMaxRows(const WeightView& weight);

/// How a linear of `rows` tokens is cut into work items.
struct PartGrid {
  size_t rows, cols;  // of the product
  size_t block_rows, row_blocks, block_cols, col_blocks;

  struct Block {
    size_t row_begin, row_end, col_begin, col_end;
    size_t rows() const { return row_end - row_begin; }
    size_t cols() const { return col_end - col_begin; }
  };

  /// Columns of a block are a multiple of `col_step`. Without rows there are no items.
  PartGrid(const WeightView& weight, size_t rows, size_t col_step = 1);
  size_t items() const { return row_blocks * col_blocks; }
  /// Neighbours read the same rows of x. Empty past the last row.
  Block At(size_t item) const {
    const size_t row = std::min(rows, item / col_blocks * block_rows), col = item % col_blocks * block_cols;
    return {row, std::min(rows, row + block_rows), col, std::min(cols, col + block_cols)};
  }
};

/// Floats of the largest block of a grid: few rows and many columns, or many rows and few. A step is at most
/// 128 columns.
constexpr size_t kPartBlockFloats = size_t{144} * 128;

/// Weight rows of one work item for `rows` tokens; a multiple of the panels' rows.
size_t PartBlockCols(const WeightView& weight, size_t rows);

/// Rows [row_begin, row_end), columns [col_begin, col_end) of part, of `codes` where the weight is quantized
/// and of `x` where not. The same bits whatever the ranges. `scratch` is 64-byte aligned, one per thread.
void PartBlock(const Matrix& x, const QuantizedRows& codes, const LinearPart& part, size_t row_begin,
               size_t row_end, size_t col_begin, size_t col_end, float* scratch);

}  // namespace skein::cpu
