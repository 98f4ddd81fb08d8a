#include "cpu/linear.h"

#include <cmath>
#include <random>
#include <vector>

#include "tiny_model.h"

namespace skein::test {
namespace {

struct Problem {
  size_t m, n, k;
  Dtype dtype;
  std::vector<float> x, bias;
  std::vector<std::byte> weight;  // exactly sized, so that the sanitizer sees a read past its end
  std::vector<double> expected;

  Problem(size_t rows, size_t cols, size_t depth, Dtype type) : m(rows), n(cols), k(depth), dtype(type) {
    std::mt19937 random(static_cast<uint32_t>(m * 31 + n * 7 + k));
    std::normal_distribution<float> normal;
    x.resize(m * k);
    bias.resize(n);
    for (float& v : x) v = normal(random);
    for (float& v : bias) v = normal(random);
    weight.resize(n * k * DtypeBytes(dtype));
    std::vector<float> wide(n * k);
    for (size_t i = 0; i < n * k; ++i) {
      const float v = normal(random);
      if (dtype == Dtype::kF32) {
        wide[i] = v;
        std::memcpy(&weight[i * 4], &v, 4);
      } else {
        const uint16_t bits = Narrow(dtype, v);
        wide[i] = dtype == Dtype::kF16 ? FloatFromF16(bits) : FloatFromBF16(bits);
        std::memcpy(&weight[i * 2], &bits, 2);
      }
    }
    expected.resize(m * n);
    for (size_t r = 0; r < m; ++r) {
      for (size_t c = 0; c < n; ++c) {
        double sum = bias[c];
        for (size_t i = 0; i < k; ++i) sum += double{x[r * k + i]} * wide[c * k + i];
        expected[r * n + c] = sum;
      }
    }
  }

  std::vector<float> Compute(size_t row_begin, size_t row_end) const {
    static std::vector<float> room(cpu::LinearScratchBytes() / sizeof(float) + 16);
    auto* scratch = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
    std::vector<float> out((row_end - row_begin) * n, NAN);
    const Matrix in{const_cast<float*>(x.data()) + row_begin * k, row_end - row_begin, k, k};
    const LinearPart part{{weight.data(), dtype, n, k}, bias.data(), {out.data(), row_end - row_begin, n, n}};
    const size_t cols = cpu::LinearBlockCols(in.rows, k, dtype);
    for (size_t c = 0; c < n; c += cols)
      cpu::LinearBlock(in, part, 0, in.rows, c, std::min(n, c + cols), scratch);
    return out;
  }
};

TEST(LinearMatchesPlainSums) {
  ForEachLevel([] {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
      for (const auto& [m, n, k] : {std::array<size_t, 3>{1, 1, 1},
                                    {1, 7, 33},
                                    {2, 5, 1024},
                                    {3, 64, 40},
                                    {5, 66, 1500},
                                    {25, 67, 2055},
                                    {31, 130, 20}}) {
        const Problem p(m, n, k, dtype);
        const std::vector<float> got = p.Compute(0, m);
        for (size_t i = 0; i < got.size(); ++i) {
          CHECK(std::abs(got[i] - p.expected[i]) <= 1e-5 * std::sqrt(static_cast<double>(k)) * 4);
        }
      }
    }
  });
}

TEST(LinearRowIsTheSameInAnyBatch) {
  ForEachLevel([] {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
      const Problem p(64, 37, 1100, dtype);
      const std::vector<float> whole = p.Compute(0, 64);
      for (size_t size = 1; size < 64; size = size < 8 ? size + 1 : size * 2 - 3) {
        for (size_t begin = 0; begin + size <= 64; begin += size) {
          const std::vector<float> part = p.Compute(begin, begin + size);
          CHECK(std::memcmp(part.data(), &whole[begin * p.n], part.size() * sizeof(float)) == 0);
        }
      }
    }
  });
}

}  // namespace
}  // namespace skein::test

int main(int argc, char** argv) { return skein::test::RunAll(argc, argv); }
