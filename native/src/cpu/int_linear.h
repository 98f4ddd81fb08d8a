#pragma once

#include <cstddef>

#include "core/backend.h"
#include "cpu/quantize_rows.h"

namespace skein::cpu {

/// Rows handled by one work item; more tokens become several. So many quantized rows stay in L2.
constexpr size_t kIntLinearMaxRows = 144;

/// Bytes of scratch one thread needs for IntLinearBlock.
size_t IntLinearScratchBytes();

/// Weight rows of one work item for `rows` tokens and `k` columns of `bits` each; a multiple of
/// IntPanelRows().
size_t IntLinearBlockCols(size_t rows, size_t k, uint32_t bits);

/// Rows [row_begin, row_end), columns [col_begin, col_end) of part: x weight^T + bias for integer panels, of
/// which `col_begin` begins one; up to kIntLinearMaxRows rows. `scratch` is 64-byte aligned, one per thread.
/// Bit-identical for a row whatever the ranges: products of 32 columns (16 or 128 as scales need) are summed
/// in integers, scaled and added in order within each of weight.partials runs, and the runs in a binary tree.
void IntLinearBlock(const QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                    size_t col_begin, size_t col_end, float* scratch);

}  // namespace skein::cpu
