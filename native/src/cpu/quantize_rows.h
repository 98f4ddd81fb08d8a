#pragma once

#include <cstddef>
#include <cstdint>

#include "core/weight.h"

namespace skein::cpu {

/// The step of the integer kernels, in columns.
constexpr size_t kQuantBlock = 32;

/// Columns of x that share a scale where `weight` reads it: as many as divide its partial sums, at most 128.
/// It depends on the shape alone, so that ranks that hold some of the columns quantize as one does that holds
/// all.
inline size_t ActivationBlock(const WeightView& weight) {
  const size_t run = (weight.cols + kQuantBlock - 1) / kQuantBlock * kQuantBlock / weight.partials;
  return run % 128 == 0 ? 128 : run % 64 == 0 ? 64 : kQuantBlock;
}

/// Rows of activations as signed bytes: x = code * scale, codes -127..127. Does not own its memory.
struct QuantizedRows {
  int8_t* codes = nullptr;   // [rows][stride]; zeros from the last column up to a multiple of 32
  float* scales = nullptr;   // [rows][blocks]: that of `block` columns stands at each 32 of them
  int32_t* sums = nullptr;   // [rows][blocks]: of the codes
  int32_t* zeros = nullptr;  // [rows][blocks]: two int16, each -4 times the sum
  size_t rows = 0;
  size_t cols = 0;
  size_t stride = 0;
  size_t blocks = 0;           // of 32 columns
  size_t block = kQuantBlock;  // columns that share a scale: ActivationBlock

  QuantizedRows Rows(size_t first, size_t count) const {
    QuantizedRows part = *this;
    part.rows = count;
    part.codes += first * stride;
    part.scales += first * blocks;
    part.sums += first * blocks;
    part.zeros += first * blocks;
    return part;
  }
  /// A piece of one row; `first` is a multiple of `block`.
  QuantizedRows Columns(size_t row, size_t first, size_t count) const {
    QuantizedRows part = Rows(row, 1);
    part.codes += first;
    part.scales += first / kQuantBlock;
    part.sums += first / kQuantBlock;
    part.zeros += first / kQuantBlock;
    part.cols = count;
    part.blocks = (count + kQuantBlock - 1) / kQuantBlock;
    return part;
  }
};

/// Bytes that QuantizedRowsAt lays out.
size_t QuantizedRowsBytes(size_t rows, size_t cols);

/// Room for rows in `memory`, which is 64-byte aligned.
QuantizedRows QuantizedRowsAt(std::byte* memory, size_t rows, size_t cols, size_t block);

/// Quantizes out.rows rows of `x`, `stride` floats apart: scale = max|x| / 127 over out.block columns, or
/// over the row with `row_scaled`; codes rounded to nearest even. Column c takes x[column_order[c]] where
/// that is not null. A row with an infinity or NaN in it gets such a scale, so that products with it are not
/// finite.
void QuantizeRows(const float* x, size_t stride, const uint32_t* column_order, bool row_scaled,
                  const QuantizedRows& out);

}  // namespace skein::cpu
