#include "cpu/int_linear.h"

#include <algorithm>

#include "cpu/int_linear_kernels.h"
#include "cpu/int_panels.h"

namespace skein::cpu {

size_t IntLinearScratchBytes() { return IntPanelRows() * kIntScratchRowBytes; }

size_t IntLinearBlockCols(size_t rows, size_t k, uint32_t bits) {
  const size_t panel = IntPanelRows();
  if (rows >= kUnpackMinRows) return std::max<size_t>(panel, 64);
  // About 128 KiB of weights: some 10 us of reading, so that taking a chunk is cheap and a late core costs
  // little.
  constexpr size_t kChunkBytes = size_t{128} << 10;
  return std::clamp<size_t>(kChunkBytes * 8 / (k * bits), panel, 256) / panel * panel;
}

void IntLinearBlock(const QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                    size_t col_begin, size_t col_end, float* scratch) {
  const auto kernel = part.weight.bits == 4 ? IntLinearNibbles : IntLinearBytes;
  kernel(x, part, row_begin, row_end, col_begin, col_end, scratch);
}

}  // namespace skein::cpu
