#include "cpu/float_panels.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "core/checked_math.h"
#include "cpu/elementwise.h"
#include "levels.h"
#include "op_backend.h"

namespace skein::test {
namespace {

TEST(EveryRowComesBackFromItsPanel) {
  ForEachLevel([] {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16, Dtype::kF8E4M3}) {
      for (const auto& [rows, cols] :
           {std::array<size_t, 2>{1, 1}, {7, 33}, {16, 64}, {37, 31}, {100, 130}, {65, 1}}) {
        std::mt19937 random(4);
        const RandomWeight w(rows, cols, dtype, random);
        std::vector<float> row(cols);
        for (size_t r = 0; r < rows; ++r) {
          cpu::UnpackFloatRow(w.panel_view(), r, row.data());
          CHECK(std::memcmp(row.data(), w.row(r), cols * sizeof(float)) == 0);
        }
      }
    }
  });
}

TEST(PanelsPackedInRangesAreTheSame) {
  ForEachLevel([] {
    std::mt19937 random(4);
    const size_t rows = 133, cols = 45, step = 2 * cpu::FloatPanelRows();
    const RandomWeight w(rows, cols, Dtype::kBF16, random);
    std::vector<std::byte> packed(w.packed.size(), std::byte{0xff});
    for (size_t first = 0; first < rows; first += step) {
      cpu::PackFloatRows(w.data.data() + first * cols * 2, w.dtype, std::min(step, rows - first), cols, first,
                         packed.data());
    }
    CHECK(packed == w.packed);
  });
}

TEST(UnpackedRowsAreScaled) {
  ForEachLevel([] {
    std::mt19937 random(4);
    const size_t rows = 21, cols = 70, group = 32, padded = RoundUp(rows, cpu::FloatPanelRows());
    const RandomWeight w(rows, cols, Dtype::kF8E4M3, random);
    std::vector<float> scales(3 * padded), row(cols);
    for (float& s : scales) s = std::uniform_real_distribution<float>(0.1f, 2)(random);
    WeightView view = w.panel_view();
    view.group = group;
    view.scales = scales.data();
    for (size_t r = 0; r < rows; ++r) {
      cpu::UnpackFloatRow(view, r, row.data());
      for (size_t c = 0; c < cols; ++c) CHECK_EQ(row[c], w.row(r)[c] * scales[c / group * padded + r]);
    }
  });
}

}  // namespace
}  // namespace skein::test
