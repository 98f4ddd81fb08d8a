#include "cpu/linear.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/checked_math.h"
#include "cpu/float_panels.h"
#include "levels.h"
#include "op_backend.h"

namespace skein::test {
namespace {

constexpr Dtype kDtypes[] = {Dtype::kF32, Dtype::kF16, Dtype::kBF16, Dtype::kF8E4M3};

struct Problem {
  size_t m, n, k, group;
  std::mt19937 random;
  TestMatrix x;
  RandomWeight weight;
  std::vector<float> bias, scales;

  /// `scale_group` columns share a scale; 0 for no scales.
  Problem(size_t rows, size_t cols, size_t depth, Dtype dtype, size_t scale_group = 0)
      : m(rows),
        n(cols),
        k(depth),
        group(scale_group),
        random(static_cast<uint32_t>(m * 31 + n * 7 + k)),
        x(m, k, random),
        weight(n, k, dtype, random),
        bias(n) {
    for (float& v : bias) v = std::normal_distribution<float>()(random);
    if (group == 0) return;
    scales.resize(CeilDiv(k, group) * padded());
    for (float& v : scales) v = std::uniform_real_distribution<float>(0.2f, 2)(random);
  }
  size_t padded() const { return RoundUp(n, cpu::FloatPanelRows()); }
  WeightView view() const {
    WeightView view = weight.panel_view();
    view.group = static_cast<uint32_t>(group);
    view.scales = group == 0 ? nullptr : scales.data();
    return view;
  }
  double Expected(size_t row, size_t col) const {
    double sum = bias[col];
    for (size_t i = 0; i < k; ++i) {
      const double scale = group == 0 ? 1 : scales[i / group * padded() + col];
      sum += double{x.row(row)[i]} * weight.row(col)[i] * scale;
    }
    return sum;
  }
  TestMatrix Compute(size_t row_begin, size_t row_end) {
    return Product(view(), bias.data(), x.view(row_begin, row_end));
  }
  /// Rows of x times a weight, in items as a backend makes them, of at most kLinearMaxRows rows.
  static TestMatrix Product(const WeightView& weight, const float* bias, Matrix x, size_t cols = 0) {
    std::vector<float> room(cpu::LinearScratchBytes() / sizeof(float) + 16);
    auto* scratch = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
    TestMatrix out(x.rows, weight.rows);
    const LinearPart part{weight, bias, out.view()};
    if (cols == 0) cols = cpu::LinearBlockCols(x.rows, weight.cols, weight.dtype);
    for (size_t c = 0; c < weight.rows; c += cols)
      cpu::LinearBlock(x, part, 0, x.rows, c, std::min(weight.rows, c + cols), scratch);
    return out;
  }
};

TEST(LinearMatchesPlainSums) {
  ForEachLevel([] {
    for (const Dtype dtype : kDtypes) {
      for (const auto& [m, n, k] : {std::array<size_t, 3>{1, 1, 1},
                                    {1, 7, 33},
                                    {1, 150, 512},
                                    {2, 5, 1024},
                                    {3, 64, 40},
                                    {5, 66, 1500},
                                    {8, 37, 640},
                                    {17, 40, 2048},
                                    {25, 67, 2055},
                                    {31, 130, 20}}) {
        for (const size_t group : {size_t{0}, size_t{48}, k}) {
          if (group != 0 && dtype != Dtype::kF8E4M3) continue;
          Problem p(m, n, k, dtype, group);
          const TestMatrix got = p.Compute(0, m);
          for (size_t r = 0; r < m; ++r) {
            for (size_t c = 0; c < n; ++c) {
              CHECK(std::abs(got.row(r)[c] - p.Expected(r, c)) <= 4e-5 * std::sqrt(static_cast<double>(k)));
            }
          }
        }
      }
    }
  });
}

TEST(LinearRowIsTheSameInAnyBatch) {
  ForEachLevel([] {
    for (const Dtype dtype : kDtypes) {
      for (const size_t k : {1100u, 1280u, 2560u}) {
        Problem p(64, 37, k, dtype, dtype == Dtype::kF8E4M3 ? 128 : 0);
        const TestMatrix whole = p.Compute(0, 64);
        for (size_t size = 1; size <= 64; size += kEmulated && size >= 20 ? 11 : 1) {
          // The sizes where kernels change, at every place; the others once.
          const size_t end = size <= 8 || size == 19 ? 64 : size;
          for (size_t begin = 0; begin + size <= end; begin += size) {
            const TestMatrix part = p.Compute(begin, begin + size);
            for (size_t r = 0; r < size; ++r) CHECK(SameRow(part, r, whole, begin + r));
          }
        }
      }
    }
  });
}

TEST(LinearIsTheSameInAnyBlocksOfColumns) {
  ForEachLevel([] {
    for (const size_t m : {1u, 2u, 3u, 6u, 13u, 40u}) {
      Problem p(m, 200, 768, Dtype::kBF16);
      const TestMatrix whole = p.Compute(0, m);
      for (const size_t panels : {1u, 2u, 3u, 5u, 8u}) {
        const TestMatrix part =
            Problem::Product(p.view(), p.bias.data(), p.x.view(), panels * cpu::FloatPanelRows());
        for (size_t r = 0; r < m; ++r) CHECK(SameRow(part, r, whole, r));
      }
    }
  });
}

/// Two ranks that hold half of the columns each, and add what they get.
TEST(HalvesOfTheColumnsAddUpToTheSameBits) {
  ForEachLevel([] {
    for (const size_t m : {1u, 5u, 12u, 30u}) {
      const size_t n = 40, k = 1024, half = k / 2;
      Problem p(m, n, k, Dtype::kBF16);
      const TestMatrix whole = Problem::Product(p.view(), nullptr, p.x.view());
      std::vector<TestMatrix> sums;
      for (const size_t first : {size_t{0}, half}) {
        std::vector<uint16_t> rows(n * half);
        for (size_t r = 0; r < n; ++r)
          std::memcpy(&rows[r * half], &p.weight.data[(r * k + first) * 2], half * 2);
        std::vector<std::byte> packed(cpu::FloatPanelBytes(Dtype::kBF16, n, half));
        cpu::PackFloatRows(rows.data(), Dtype::kBF16, n, half, 0, packed.data());
        WeightView slice = p.view();
        slice.data = packed.data();
        slice.cols = half;
        slice.partials /= 2;
        Matrix x = p.x.view();
        x.data += first;
        x.width = half;
        sums.push_back(Problem::Product(slice, nullptr, x));
      }
      for (size_t r = 0; r < m; ++r) {
        for (size_t c = 0; c < n; ++c) CHECK_EQ(sums[0].row(r)[c] + sums[1].row(r)[c], whole.row(r)[c]);
      }
    }
  });
}

}  // namespace
}  // namespace skein::test
