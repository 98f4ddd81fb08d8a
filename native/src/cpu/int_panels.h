#pragma once

#include <cstddef>
#include <cstdint>

#include "core/weight.h"

/// Integer weights as the kernels of cpu/int_linear.h read them. A panel holds IntPanelRows() weight rows:
/// for every four columns, the four codes of each row side by side, so that one int32 lane is one output. Of
/// 4-bit codes the first half of the rows lies in the low nibbles and the second in the high ones. Columns
/// are padded to a multiple of 32 and rows to whole panels. Scales, zeros and mins: [panel][group][row].
namespace skein::cpu {

/// Row-major rows of a quantized matrix; groups = ceil(cols / group).
struct IntRows {
  const uint8_t* codes = nullptr;  // [count][cols]; int8 bit patterns with 8 bits
  const float* scales = nullptr;   // [count][groups]
  const int8_t* zeros = nullptr;   // [count][groups] or null
  const float* mins = nullptr;     // [count][groups] or null
};

/// `group` is a multiple of 16, or at least the number of columns. An element is (code - zero) * scale with
/// `zeros`, code * scale + min with `mins`, else (code - 8) * scale of 4 bits and code * scale of 8. Not
/// both.
struct IntFormat {
  uint32_t bits = 8;
  uint32_t group = 0;
  Dtype scale_dtype = Dtype::kF32;
  bool zeros = false;
  bool mins = false;
};

/// Bytes of the parts of a packed matrix; 0 for a part that the format lacks.
struct IntPanelSizes {
  size_t codes, scales, zeros, mins;
};

/// Weight rows of a panel on this machine.
size_t IntPanelRows();

IntPanelSizes IntPanelBytes(const IntFormat& format, size_t rows, size_t cols);

/// `rows` become rows [first, first + count) of the panels; `first` is a multiple of IntPanelRows(). A last
/// panel that `count` leaves open is filled with zeros. Parts that the format lacks may be null. Calls for
/// disjoint panels may run at the same time.
void PackIntRows(const IntFormat& format, const IntRows& rows, size_t count, size_t cols, size_t first,
                 std::byte* codes, void* scales, int8_t* zeros, float* mins);

/// The `weight.cols` elements of a row of panels, in the order of the columns.
void UnpackIntRow(const WeightView& weight, size_t row, float* out);

}  // namespace skein::cpu
