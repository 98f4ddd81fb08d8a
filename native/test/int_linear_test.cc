#include "cpu/int_linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"
#include "core/checked_math.h"
#include "cpu/quad_dots.h"
#include "int_panels.h"
#include "levels.h"

namespace skein::test {
namespace {

constexpr Dtype kF32 = Dtype::kF32, kF16 = Dtype::kF16, kBF16 = Dtype::kBF16;

std::vector<IntCase> IntCases() {
  std::vector<IntCase> cases;
  for (const uint32_t bits : {4u, 8u}) {
    cases.push_back({{bits, 32, kF16, false, false}, 40, 256});
    cases.push_back({{bits, 128, kF16, false, false}, 67, 1024});
    cases.push_back({{bits, 128, kBF16, true, false}, 35, 2304});
    cases.push_back({{bits, 64, kF32, true, false}, 33, 200});
    cases.push_back({{bits, 32, kF32, false, true}, 70, 512});
    cases.push_back({{bits, 16, kF32, false, false}, 19, 256});
    cases.push_back({{bits, 16, kBF16, false, true}, 64, 96});
    cases.push_back({{bits, 48, kF16, true, false}, 21, 310});
    cases.push_back({{bits, 1000, kF32, false, false}, 1, 1000, false, true});
    cases.push_back({{bits, 37, kF32, true, false}, 5, 37, true, true});
    cases.push_back({{bits, 128, kF16, true, false}, 50, 768, true, false});
    cases.push_back({{bits, 4096, kF32, false, false}, 17, 4096, false, true});
    cases.push_back({{bits, 32, kF16, false, false}, 9, 1});
  }
  return cases;
}

struct Problem {
  size_t m;
  IntWeight weight;
  std::vector<float> x, bias;

  Problem(size_t rows, const IntCase& c, std::mt19937& random) : m(rows), weight(c, random) {
    std::normal_distribution<float> normal;
    x.resize(m * c.cols);
    bias.resize(c.rows);
    for (float& v : x) v = normal(random) * (random() % 50 == 0 ? 20.0f : 1.0f);
    for (float& v : bias) v = normal(random);
  }

  /// Columns in chunks of `chunk`, a multiple of the panel's rows.
  std::vector<float> Compute(size_t begin, size_t end, size_t chunk) const {
    static std::vector<float> room(cpu::IntLinearScratchBytes() / sizeof(float) + 16);
    if (room.size() * sizeof(float) < cpu::IntLinearScratchBytes() + 64)
      room.resize(cpu::IntLinearScratchBytes() / sizeof(float) + 16);
    auto* scratch = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
    const size_t rows = weight.spec.rows, cols = weight.spec.cols;
    std::vector<float> out((end - begin) * rows, NAN);
    const OwnedRows in(x.data() + begin * cols, cols, end - begin, weight.view());
    const LinearPart part{weight.view(), bias.data(), {out.data(), end - begin, rows, rows}};
    for (size_t c = 0; c < rows; c += chunk)
      cpu::IntLinearBlock(in.get(), part, 0, end - begin, c, std::min(rows, c + chunk), scratch);
    return out;
  }
};

/// Checks a result against double sums over the quantized activations: integer dots are exact, so that only
/// the f32 scaling and adding of blocks may differ.
void CheckAgainstPlain(const Problem& p, const std::vector<float>& got) {
  const size_t cols = p.weight.spec.cols, rows = p.weight.spec.rows;
  const OwnedRows in(p.x.data(), cols, p.m, p.weight.view());
  const cpu::QuantizedRows& q = in.get();
  for (size_t r = 0; r < p.m; ++r) {
    for (size_t n = 0; n < rows; ++n) {
      double sum = p.bias[n], size = std::abs(sum);
      for (size_t c = 0; c < cols; ++c) {
        const double x = double{q.scales[r * q.blocks + c / 32]} * q.codes[r * q.stride + c];
        sum += x * p.weight.Element(n, c);
        // Zeros and mins are subtracted as products of their own: their size counts too.
        size += std::abs(x) *
                (std::abs(p.weight.Element(n, c)) + 128 * std::abs(p.weight.scales[n * p.weight.groups]));
      }
      CHECK(std::abs(got[r * rows + n] - sum) <= 4e-7 * size);
    }
  }
}

TEST(IntLinearMatchesPlainSums) {
  ForEachIntLevel([] {
    std::mt19937 random(7);
    for (const IntCase& c : IntCases()) {
      for (const size_t m : {1, 2, 3, 5, 9, 14}) {
        const Problem p(m, c, random);
        CheckAgainstPlain(p, p.Compute(0, m, cpu::IntPanelRows()));
      }
    }
  });
}

// The largest products, all of one sign: nothing on the way to 32 bits may saturate.
TEST(IntLinearOfExtremesMatchesPlainSums) {
  ForEachIntLevel([] {
    std::mt19937 random(12);
    for (const IntCase& c : IntCases()) {
      Problem p(7, c, random);
      const uint8_t extremes[] = {static_cast<uint8_t>(c.format.bits == 4 ? 0 : -128),
                                  static_cast<uint8_t>(c.format.bits == 4 ? 15 : 127)};
      for (size_t i = 0; i < p.weight.codes.size(); ++i) p.weight.codes[i] = extremes[i / c.cols % 2];
      for (size_t i = 0; i < p.x.size(); ++i) p.x[i] = i / c.cols % 2 == 0 ? 1.0f : -1.0f;
      p.weight.Pack();
      CheckAgainstPlain(p, p.Compute(0, p.m, cpu::IntPanelRows()));
    }
  });
}

TEST(IntLinearGivesTheSameBitsWithEitherFormOfDots) {
  ForEachLevel([] {
    std::mt19937 random(13);
    for (const IntCase& c : IntCases()) {
      for (const size_t m : {1, 6, 25}) {
        const Problem p(m, c, random);
        const std::vector<float> best = p.Compute(0, m, cpu::IntPanelRows());
        cpu::AllowQuadDotsForTest(false);
        const std::vector<float> pairs = p.Compute(0, m, cpu::IntPanelRows());
        cpu::AllowQuadDotsForTest(true);
        CHECK(std::memcmp(best.data(), pairs.data(), best.size() * sizeof(float)) == 0);
      }
    }
  });
}

TEST(IntLinearRowIsTheSameInAnyBatchAndChunk) {
  ForEachIntLevel([] {
    std::mt19937 random(8);
    const size_t panel = cpu::IntPanelRows();
    size_t index = 0;
    for (const IntCase& c : IntCases()) {
      const Problem p(64, c, random);
      const size_t rows = c.rows;
      // Every size for some formats, and a few sizes for each.
      const size_t step = index++ % 6 == 0 ? 1 : 9;
      const std::vector<float> whole = p.Compute(0, 64, RoundUp(rows, panel));
      CHECK(whole == p.Compute(0, 64, panel));
      for (size_t size = 1; size < 64; size += size < 4 ? 1 : step) {
        const size_t begin = random() % (64 - size + 1);
        const std::vector<float> part = p.Compute(begin, begin + size, panel * (1 + size % 3));
        CHECK(std::memcmp(part.data(), &whole[begin * rows], part.size() * sizeof(float)) == 0);
      }
    }
  });
}

TEST(IntLinearTakesRowsAndColumnsOfALargerProduct) {
  ForEachIntLevel([] {
    std::mt19937 random(9);
    const Problem p(20, {{4, 32, kF16, false, false}, 100, 512}, random);
    const std::vector<float> whole = p.Compute(0, 20, 128);
    const OwnedRows in(p.x.data(), 512, 20, p.weight.view());
    std::vector<float> out(20 * 100, -1), scratch(cpu::IntLinearScratchBytes() / sizeof(float) + 16);
    auto* room = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
    const size_t first = cpu::IntPanelRows();
    cpu::IntLinearBlock(in.get(), {p.weight.view(), p.bias.data(), {out.data(), 20, 100, 100}}, 3, 18, first,
                        90, room);
    for (size_t r = 0; r < 20; ++r) {
      for (size_t c = 0; c < 100; ++c) {
        const bool inside = r >= 3 && r < 18 && c >= first && c < 90;
        CHECK_EQ(out[r * 100 + c], inside ? whole[r * 100 + c] : -1.0f);
      }
    }
  });
}

// A slice of the columns, as a tensor-parallel rank holds it, gives the partial sum of the whole.
TEST(IntLinearSlicesAddUpInTheTree) {
  ForEachIntLevel([] {
    std::mt19937 random(10);
    const IntCase c{{4, 32, kF16, false, false}, 33, 512};
    const Problem p(3, c, random);
    Problem halves[2] = {Problem(3, {c.format, c.rows, 256}, random),
                         Problem(3, {c.format, c.rows, 256}, random)};
    std::vector<float> sums[2];
    for (size_t h = 0; h < 2; ++h) {
      // The halves of the codes, scales and activations of the whole.
      IntWeight& w = halves[h].weight;
      for (size_t n = 0; n < c.rows; ++n) {
        std::copy_n(&p.weight.codes[n * 512 + h * 256], 256, &w.codes[n * 256]);
        std::copy_n(&p.weight.scales[n * 16 + h * 8], 8, &w.scales[n * 8]);
      }
      for (size_t r = 0; r < 3; ++r) std::copy_n(&p.x[r * 512 + h * 256], 256, &halves[h].x[r * 256]);
      std::fill(halves[h].bias.begin(), halves[h].bias.end(), 0.0f);
      w.partials = 4;
      w.Pack();
      sums[h] = halves[h].Compute(0, 3, 32);
    }
    const std::vector<float> whole = p.Compute(0, 3, 32);
    for (size_t i = 0; i < whole.size(); ++i)
      CHECK_EQ(whole[i], sums[0][i] + sums[1][i] + p.bias[i % c.rows]);
  });
}

TEST(UnpackIntRowIsExact) {
  ForEachLevel([] {
    std::mt19937 random(11);
    for (const IntCase& c : IntCases()) {
      const IntWeight w(c, random);
      std::vector<float> row(c.cols);
      for (size_t n = 0; n < c.rows; ++n) {
        cpu::UnpackIntRow(w.view(), n, row.data());
        for (size_t i = 0; i < c.cols; ++i) {
          const size_t at = n * w.groups + i / c.format.group;
          const uint8_t byte = w.codes[n * c.cols + i];
          const int code = c.format.bits == 4 ? byte : static_cast<int8_t>(byte);
          const int zero = c.format.zeros ? w.zeros[at] : c.format.bits == 4 && !c.format.mins ? 8 : 0;
          float expected = static_cast<float>(code - zero) * w.scales[at];
          if (c.format.mins) expected += w.mins[at];
          CHECK_EQ(row[i], expected);
        }
      }
    }
  });
}

}  // namespace
}  // namespace skein::test
