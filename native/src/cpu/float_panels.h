#pragma once

#include <cstddef>

#include "core/weight.h"

/// Weights of linears, in the order in which their kernels read them: panels of FloatPanelRows() rows, each
/// [cols][FloatPanelRows()] elements in their storage type. The last panel is padded with zeros. Sizes and
/// order belong to the instruction level of the process: panels never leave it.
namespace skein::cpu {

/// Rows of a panel: two vectors of f32.
size_t FloatPanelRows();

/// Bytes of all panels of a matrix.
size_t FloatPanelBytes(Dtype dtype, size_t rows, size_t cols);

/// `rows`: `count` row-major rows of `dtype`, without alignment; they become rows [first, first + count) of
/// `panels`, 64-byte aligned. `first` is a multiple of FloatPanelRows(); rows that fill up the last panel
/// become zero. Ranges of whole panels may be packed by several threads at once.
void PackFloatRows(const void* rows, Dtype dtype, size_t count, size_t cols, size_t first, std::byte* panels);

/// Row `row` of `weight`, kFloatPanels, as f32 [cols], scales applied.
void UnpackFloatRow(const WeightView& weight, size_t row, float* out);

}  // namespace skein::cpu
