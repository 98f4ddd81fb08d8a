#pragma once

#include "core/backend.h"
#include "cpu/quantize_rows.h"

/// Blocks of linears whatever their weights are stored as.
namespace skein::cpu {

inline bool IsQuantized(const WeightView& weight) { return weight.layout == WeightLayout::kIntPanels; }

/// Whether two quantized weights read the same codes of their input.
inline bool SameActivations(const WeightView& a, const WeightView& b) {
  return a.column_order == b.column_order && a.row_scaled_activations == b.row_scaled_activations;
}

/// Bytes of scratch one thread needs for PartBlock.
size_t PartScratchBytes();

/// Rows handled by one work item; more tokens become several.
size_t PartMaxRows(const WeightView& weight);

/// Weight rows of one work item for `rows` tokens; a multiple of the panels' rows.
size_t PartBlockCols(const WeightView& weight, size_t rows);

/// part.out[row_begin..row_end, col_begin..col_end), of `codes` where the weight is quantized and of `x`
/// where not. The same bits whatever the ranges. `scratch` is 64-byte aligned, one per thread.
void PartBlock(const Matrix& x, const QuantizedRows& codes, const LinearPart& part, size_t row_begin,
               size_t row_end, size_t col_begin, size_t col_end, float* scratch);

}  // namespace skein::cpu
