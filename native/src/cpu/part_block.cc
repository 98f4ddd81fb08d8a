#include "cpu/part_block.h"

#include <algorithm>

#include "core/checked_math.h"
#include "cpu/int_linear.h"
#include "cpu/linear.h"

namespace skein::cpu {

static_assert(kLinearMaxRows <= 144 && kIntLinearMaxRows <= 144);

size_t PartScratchBytes() { return std::max(LinearScratchBytes(), IntLinearScratchBytes()); }

size_t PartMaxRows(const WeightView& weight) {
  return IsQuantized(weight) ? kIntLinearMaxRows : kLinearMaxRows;
}

size_t PartBlockCols(const WeightView& weight, size_t rows) {
  return IsQuantized(weight) ? IntLinearBlockCols(rows, weight.cols, weight.bits)
                             : LinearBlockCols(rows, weight.cols, weight.dtype);
}

PartGrid::PartGrid(const WeightView& weight, size_t num_rows, size_t col_step)
    : rows(num_rows), cols(weight.rows) {
  // Equal blocks of rows, each a multiple of every tile height.
  row_blocks = CeilDiv(rows, PartMaxRows(weight));
  block_rows = RoundUp(CeilDiv(rows, std::max<size_t>(1, row_blocks)), 6);
  block_cols = RoundUp(PartBlockCols(weight, rows), col_step);
  col_blocks = CeilDiv(cols, block_cols);
}

void PartBlock(const Matrix& x, const QuantizedRows& codes, const LinearPart& part, size_t row_begin,
               size_t row_end, size_t col_begin, size_t col_end, float* scratch) {
  const size_t most = PartMaxRows(part.weight);
  for (size_t row = row_begin; row < row_end; row += most) {
    const size_t end = std::min(row_end, row + most);
    if (IsQuantized(part.weight)) {
      IntLinearBlock(codes, part, row, end, col_begin, col_end, scratch);
    } else {
      LinearBlock(x, part, row, end, col_begin, col_end, scratch);
    }
  }
}

}  // namespace skein::cpu
