#pragma once

#include <cstddef>
#include <cstdint>

namespace skein::cpu {

/// Columns that share an activation scale, and the step of the integer kernels.
constexpr size_t kQuantBlock = 32;

/// Rows of activations as signed bytes: x = code * scale, codes -127..127. Does not own its memory.
struct QuantizedRows {
  int8_t* codes = nullptr;  // [rows][stride]; zeros from the last column up to a multiple of 32
  float* scales = nullptr;  // [rows][blocks]
  int32_t* sums = nullptr;  // [rows][blocks]: of the codes
  size_t rows = 0;
  size_t cols = 0;
  size_t stride = 0;
  size_t blocks = 0;  // of 32 columns

  QuantizedRows Rows(size_t first, size_t count) const {
    return {
        codes + first * stride, scales + first * blocks, sums + first * blocks, count, cols, stride, blocks};
  }
  /// A piece of one row; `first` is a multiple of 32.
  QuantizedRows Columns(size_t row, size_t first, size_t count) const {
    const size_t block = row * blocks + first / kQuantBlock;
    return {codes + row * stride + first,           scales + block, sums + block, 1, count, stride,
            (count + kQuantBlock - 1) / kQuantBlock};
  }
};

/// Bytes that QuantizedRowsAt lays out.
size_t QuantizedRowsBytes(size_t rows, size_t cols);

/// Room for rows in `memory`, which is 64-byte aligned.
QuantizedRows QuantizedRowsAt(std::byte* memory, size_t rows, size_t cols);

/// Quantizes out.rows rows of `x`, `stride` floats apart: scale = max|x| / 127 over 32 columns, or over the
/// row with `row_scaled`; codes rounded to nearest even. Column c takes x[column_order[c]] where that is not
/// null. A row with an infinity or NaN in it gets such a scale, so that products with it are not finite.
void QuantizeRows(const float* x, size_t stride, const uint32_t* column_order, bool row_scaled,
                  const QuantizedRows& out);

}  // namespace skein::cpu
