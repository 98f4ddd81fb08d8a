#pragma once

#include <cstddef>

namespace skein {

/// f32 [rows, width], `stride` floats from row to row, in the backend's memory.
struct Matrix {
  float* data = nullptr;
  size_t rows = 0;
  size_t width = 0;
  size_t stride = 0;

  size_t elements() const { return rows * width; }
  /// Rows [first, first + count).
  Matrix Rows(size_t first, size_t count) const { return {data + first * stride, count, width, stride}; }
  /// Columns [first, first + count) of all rows.
  Matrix Columns(size_t first, size_t count) const { return {data + first, rows, count, stride}; }
};

}  // namespace skein
