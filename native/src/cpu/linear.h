#pragma once

#include <cstddef>

#include "core/backend.h"

namespace skein::cpu {

/// Rows handled by one work item; more tokens become several. Measured on Zen 3: beside this many, a block of
/// x and the sums stay in 512 KiB of L2 (0.90 of the multiply-add rate at 144 rows, 0.85 to 0.87 at 256).
constexpr size_t kLinearMaxRows = 144;

/// Bytes of scratch one thread needs for LinearBlock.
size_t LinearScratchBytes();

/// Weight rows of one work item for `rows` tokens and `k` columns of `dtype`; a multiple of
/// FloatPanelRows().
size_t LinearBlockCols(size_t rows, size_t k, Dtype dtype);

/// Rows [row_begin, row_end), columns [col_begin, col_end) of part: x weight^T + bias, of a weight in float
/// panels; at most kLinearMaxRows rows. col_begin is a multiple of FloatPanelRows(), and col_end is one or is
/// weight.rows. `scratch` is 64-byte aligned, one per thread.
///
/// Bit-identical for a row whatever the ranges. An output is the sum of weight.partials runs of columns, each
/// taken in order with one multiply-add a column, added as weight.h says; then bias. With scales a run is
/// split where they change: each piece is summed from zero, and added to the run times its scale.
void LinearBlock(const Matrix& x, const LinearPart& part, size_t row_begin, size_t row_end, size_t col_begin,
                 size_t col_end, float* scratch);

}  // namespace skein::cpu
