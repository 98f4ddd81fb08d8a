#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace skein {

/// How a loaded matrix lies in memory.
enum class WeightLayout {
  kRows,         ///< floats of `dtype`, row-major, contiguous
  kFloatPanels,  ///< floats of `dtype`, as cpu/float_panels.h packs them
  kIntPanels,    ///< integers of `bits`, as cpu/int_panels.h packs them
};

/// A sum over `cols` columns is made of this many partial sums over equal runs of columns, which are added in
/// a binary tree: ((0+1)+(2+3))+((4+5)+(6+7)). It depends on the shape alone, so that ranks that hold a run
/// of the columns each get the bits of one rank that holds all. The largest of 8, 4, 2, 1 whose runs are
/// multiples of 32.
constexpr size_t PartialSums(size_t cols) {
  size_t count = 8;
  while (count > 1 && cols % (count * 32) != 0) count /= 2;
  return count;
}

/// A loaded tensor, `rows` x `cols`; one-dimensional tensors have one row. Does not own its memory. An
/// element of a quantized one stands for (code - zero) * scale, or code * scale + min.
struct WeightView {
  const void* data = nullptr;
  Dtype dtype = Dtype::kF32;
  size_t rows = 0;
  size_t cols = 0;
  WeightLayout layout = WeightLayout::kRows;
  /// Partial sums of a product with this weight: PartialSums of the whole tensor's columns, less what other
  /// ranks hold.
  uint32_t partials = 1;
  /// Columns that share a scale; 0 for none.
  uint32_t group = 0;
  /// Of kIntPanels: 4 (codes 0..15) or 8 (codes -128..127).
  uint32_t bits = 0;
  Dtype scale_dtype = Dtype::kF32;
  const void* scales = nullptr;
  /// Zero points; null stands for 8 with 4 bits and 0 with 8.
  const int8_t* zeros = nullptr;
  const float* mins = nullptr;
  /// Column c multiplies element column_order[c] of x (GPTQ's act-order); null for c itself.
  const uint32_t* column_order = nullptr;
  /// The format prescribes one activation scale per row of x instead of one per some columns.
  bool row_scaled_activations = false;
};

}  // namespace skein
