#include "cpu/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "int_panels.h"
#include "levels.h"

namespace skein::test {
namespace {

WeightView Like(size_t cols, const uint32_t* order = nullptr, bool row_scaled = false) {
  return {.cols = cols,
          .partials = static_cast<uint32_t>(PartialSums(cols)),
          .column_order = order,
          .row_scaled_activations = row_scaled};
}

TEST(QuantizeRowsRoundsToNearestOfTheScale) {
  ForEachLevel([] {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (const size_t cols : {1, 31, 32, 64, 77, 500, 512, 1024, 2048}) {
      for (const bool row_scaled : {false, true}) {
        std::vector<uint32_t> order(cols);
        for (size_t i = 0; i < cols; ++i) order[i] = static_cast<uint32_t>((i * 7 + 3) % cols);
        const bool ordered = cols % 7 != 0 && cols % 2 == 0;
        const size_t rows = 5, stride = cols + 3;
        std::vector<float> x(rows * stride);
        for (float& v : x) v = normal(random) * std::exp(normal(random));
        for (size_t i = 0; i < std::min<size_t>(32, cols); ++i) x[stride + i] = 0;  // a block of zeros
        const OwnedRows owned(x.data(), stride, rows,
                              Like(cols, ordered ? order.data() : nullptr, row_scaled));
        const cpu::QuantizedRows& q = owned.get();
        CHECK_EQ(q.blocks, (cols + 31) / 32);
        for (size_t r = 0; r < rows; ++r) {
          const auto at = [&](size_t c) { return x[r * stride + (ordered ? order[c] : c)]; };
          for (size_t b = 0; b < q.blocks; ++b) {
            const size_t begin = row_scaled ? 0 : b * 32 / q.block * q.block,
                         end = row_scaled ? cols : std::min(cols, begin + q.block);
            float largest = 0;
            for (size_t c = begin; c < end; ++c) largest = std::max(largest, std::abs(at(c)));
            const float scale = q.scales[r * q.blocks + b];
            CHECK(std::abs(scale - largest / 127) <= 1e-7f * largest);
            int sum = 0;
            for (size_t c = b * 32; c < b * 32 + 32; ++c) {
              const int code = q.codes[r * q.stride + c];
              sum += code;
              if (c >= cols) CHECK_EQ(code, 0);
              // Half a step, and what the reciprocal adds to it.
              if (c < cols) CHECK(std::abs(double{at(c)} - double{scale} * code) <= double{scale} * 0.50002);
            }
            CHECK_EQ(q.sums[r * q.blocks + b], sum);
            const auto half = static_cast<uint16_t>(-4 * sum);
            CHECK_EQ(static_cast<uint32_t>(q.zeros[r * q.blocks + b]), half * 0x10001u);
          }
        }
      }
    }
  });
}

TEST(QuantizedRowIsTheSameInAnyBatch) {
  ForEachLevel([] {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    std::vector<float> x(16 * 100);
    for (float& v : x) v = normal(random);
    const OwnedRows all(x.data(), 100, 16, Like(100));
    for (size_t r = 0; r < 16; ++r) {
      const OwnedRows one(x.data() + r * 100, 100, 1, Like(100));
      const cpu::QuantizedRows a = all.get().Rows(r, 1), b = one.get();
      CHECK(std::memcmp(a.codes, b.codes, 128) == 0);
      CHECK(std::memcmp(a.scales, b.scales, 4 * sizeof(float)) == 0);
      CHECK(std::memcmp(a.sums, b.sums, 4 * sizeof(int32_t)) == 0);
    }
  });
}

TEST(QuantizeRowsKeepsWhatIsNotFiniteAndNothingOfTheTiny) {
  ForEachLevel([] {
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> x(64, 1.0f);
      x[45] = bad;
      const OwnedRows owned(x.data(), 64, 1, Like(64));
      CHECK(std::isfinite(owned.get().scales[0]));
      CHECK(!std::isfinite(owned.get().scales[1]));
    }
    std::vector<float> x(32, 1e-40f);
    const OwnedRows owned(x.data(), 32, 1, Like(32));
    CHECK_EQ(owned.get().scales[0], 0.0f);
    CHECK_EQ(int{owned.get().codes[3]}, 0);
  });
}

}  // namespace
}  // namespace skein::test
