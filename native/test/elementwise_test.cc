#include "cpu/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "core/float_bits.h"
#include "cpu/logit_stats.h"
#include "levels.h"
#include "tiny_model.h"

namespace skein::test {
namespace {

std::vector<float> Random(size_t n, float spread) {
  static std::mt19937 random(5);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

bool Near(double got, double want, double tolerance) {
  return std::abs(got - want) <= tolerance * (std::abs(want) + 1e-6);
}

TEST(RowsMatchPlainLoops) {
  ForEachLevel([] {
    for (const size_t n : {1u, 3u, 8u, 20u, 33u, 2048u}) {
      const auto x = Random(n, 3), y = Random(n, 1);
      std::vector<float> out(n);
      const float offset = n % 2 == 0 ? 1.0f : 0.0f;
      cpu::RmsNormRow(x.data(), {y.data(), offset, 1e-5f}, n, out.data());
      double squares = 0;
      for (const float v : x) squares += double{v} * v;
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      for (size_t i = 0; i < n; ++i) CHECK(Near(out[i], x[i] * inverse * (double{y[i]} + offset), 1e-5));
      cpu::SiluMulRow(x.data(), y.data(), n, out.data());
      for (size_t i = 0; i < n; ++i) CHECK(Near(out[i], x[i] / (1 + std::exp(-double{x[i]})) * y[i], 1e-6));
      cpu::GeluTanhMulRow(x.data(), y.data(), n, out.data());
      for (size_t i = 0; i < n; ++i) {
        const double g = x[i], u = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
        CHECK(Near(out[i], g / (1 + std::exp(-2 * u)) * y[i], 4e-6));
      }
      cpu::SoftCapRow(x.data(), 2.5f, n, out.data());
      for (size_t i = 0; i < n; ++i) CHECK(Near(out[i], 2.5 * std::tanh(x[i] / 2.5), 1e-6));
      cpu::ScaleRow(x.data(), 1.7f, n, out.data());
      for (size_t i = 0; i < n; ++i) CHECK_EQ(out[i], x[i] * 1.7f);
      cpu::AddRow(x.data(), y.data(), n, out.data());
      for (size_t i = 0; i < n; ++i) CHECK_EQ(out[i], x[i] + y[i]);
    }
  });
}

TEST(GatesOfLargeNumbersAreFinite) {
  ForEachLevel([] {
    const std::vector<float> gate = {-1e30f, -500, -90, 90, 500, 1e30f}, up(6, 1.0f);
    std::vector<float> out(6);
    cpu::SiluMulRow(gate.data(), up.data(), 6, out.data());
    for (size_t i = 0; i < 3; ++i) CHECK(out[i] <= 0 && out[i] > -1e-6f * std::abs(gate[i]));
    for (size_t i = 3; i < 6; ++i) CHECK_EQ(out[i], gate[i]);
    cpu::GeluTanhMulRow(gate.data(), up.data(), 6, out.data());
    for (size_t i = 0; i < 3; ++i) CHECK(out[i] <= 0 && out[i] > -1e-6f * std::abs(gate[i]));
    for (size_t i = 3; i < 6; ++i) CHECK_EQ(out[i], gate[i]);
    cpu::SoftCapRow(gate.data(), 30, 6, out.data());
    for (size_t i = 0; i < 6; ++i) CHECK(std::abs(out[i]) <= 30 && std::abs(out[i]) > 29);
  });
}

TEST(RopeRotatesPairs) {
  ForEachLevel([] {
    for (const auto& [half, head_dim] :
         {std::array<size_t, 2>{10, 20}, {12, 24}, {36, 72}, {32, 64}, {8, 24}}) {
      const auto x = Random(head_dim, 1), angle = Random(half, 2);
      std::vector<float> cos(half), sin(half), out(head_dim);
      for (size_t i = 0; i < half; ++i) cos[i] = std::cos(angle[i]), sin[i] = std::sin(angle[i]);
      cpu::RopeHead(x.data(), cos.data(), sin.data(), half, head_dim, out.data());
      for (size_t i = 0; i < half; ++i) {
        CHECK(std::abs(out[i] - (x[i] * cos[i] - x[half + i] * sin[i])) < 1e-6);
        CHECK(std::abs(out[half + i] - (x[half + i] * cos[i] + x[i] * sin[i])) < 1e-6);
      }
      for (size_t i = 2 * half; i < head_dim; ++i) CHECK_EQ(out[i], x[i]);
      cpu::RopeInterleavedHead(x.data(), cos.data(), sin.data(), half, head_dim, out.data());
      for (size_t i = 0; i < half; ++i) {
        const float a = x[2 * i], b = x[2 * i + 1];
        CHECK(std::abs(out[2 * i] - (a * cos[i] - b * sin[i])) < 1e-6);
        CHECK(std::abs(out[2 * i + 1] - (b * cos[i] + a * sin[i])) < 1e-6);
      }
      for (size_t i = 2 * half; i < head_dim; ++i) CHECK_EQ(out[i], x[i]);
    }
  });
}

TEST(AddScaledRowAddsAMultiple) {
  ForEachLevel([] {
    for (const size_t n : {1, 7, 16, 61}) {
      const auto x = Random(n, 1), before = Random(n, 2);
      auto out = before;
      cpu::AddScaledRow(x.data(), 0.37f, n, out.data());
      for (size_t i = 0; i < n; ++i) CHECK(std::abs(out[i] - (before[i] + 0.37f * x[i])) < 1e-6);
    }
  });
}

TEST(EveryF8IsExact) {
  std::vector<uint8_t> codes(256);
  for (size_t i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(i);
  ForEachLevel([&] {
    std::vector<float> wide(256);
    std::vector<uint8_t> back(256);
    // Both the vectors and, with an odd count, the rest.
    cpu::WidenRow(codes.data(), Dtype::kF8E4M3, 256, wide.data());
    cpu::WidenRow(codes.data() + 1, Dtype::kF8E4M3, 3, wide.data() + 1);
    cpu::NarrowRow(wide.data(), Dtype::kF8E4M3, 256, back.data());
    for (int i = 0; i < 256; ++i) {
      const int exponent = i >> 3 & 15, mantissa = i & 7;
      const double sign = i < 128 ? 1 : -1;
      CHECK_EQ(std::signbit(wide[i]), i >= 128);
      CHECK_EQ(back[i], i);
      if ((i & 0x7f) == 0x7f) {
        CHECK(std::isnan(wide[i]));
      } else if (exponent == 0) {
        CHECK_EQ(wide[i], sign * std::ldexp(mantissa, -9));
      } else {
        CHECK_EQ(wide[i], sign * std::ldexp(8 + mantissa, exponent - 10));
      }
      CHECK_EQ(wide[i] == wide[i] ? FloatFromF8E4M3(codes[i]) : 0.0f, wide[i] == wide[i] ? wide[i] : 0.0f);
    }
  });
}

TEST(F8RoundsToTheNearestEvenAndSaturates) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = FloatFromF8E4M3(static_cast<uint8_t>(code)),
                high = FloatFromF8E4M3(static_cast<uint8_t>(code + 1)), middle = (low + high) / 2;
    CHECK_EQ(F8E4M3FromFloat(middle), code + code % 2);
    CHECK_EQ(F8E4M3FromFloat(std::nextafter(middle, low)), code);
    CHECK_EQ(F8E4M3FromFloat(-std::nextafter(middle, high)), code + 1 + 128);
  }
  CHECK_EQ(F8E4M3FromFloat(1e9f), 0x7e);
  CHECK_EQ(F8E4M3FromFloat(-INFINITY), 0xfe);
}

TEST(WideningAndNarrowingAgreeForEveryHalf) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  ForEachLevel([&] {
    std::vector<float> wide(bits.size());
    std::vector<uint16_t> back(bits.size());
    for (const Dtype dtype : {Dtype::kF16, Dtype::kBF16}) {
      cpu::WidenRow(bits.data(), dtype, bits.size(), wide.data());
      cpu::NarrowRow(wide.data(), dtype, bits.size(), back.data());
      for (size_t i = 0; i < bits.size(); ++i) {
        const float scalar = dtype == Dtype::kF16 ? FloatFromF16(bits[i]) : FloatFromBF16(bits[i]);
        if (std::isnan(scalar)) {
          CHECK(std::isnan(wide[i]));
        } else {
          CHECK_EQ(std::bit_cast<uint32_t>(wide[i]), std::bit_cast<uint32_t>(scalar));
          CHECK_EQ(back[i], bits[i]);
        }
      }
    }
  });
  CHECK_EQ(F16FromFloat(65519.9f), 0x7bff);
  CHECK_EQ(F16FromFloat(65520.0f), 0x7c00);
  CHECK_EQ(F16FromFloat(1.0f + 0x1p-11f), 0x3c00);      // tie to even
  CHECK_EQ(F16FromFloat(1.0f + 3 * 0x1p-11f), 0x3c02);  // tie to even
  CHECK_EQ(F16FromFloat(0x1p-25f), 0);
  CHECK_EQ(F16FromFloat(0x1.8p-25f), 1);
  CHECK_EQ(BF16FromFloat(1.0f + 0x1p-8f), 0x3f80);
}

TEST(LogitStatsMatchPlainLoops) {
  ForEachLevel([] {
    for (const size_t n : {1u, 5u, 17u, 100u, 10007u}) {
      auto x = Random(n, 4);
      if (n > 4) x[n - 1] = x[n / 2] = 100;
      const cpu::ArgMax best = cpu::FindArgMax(x.data(), n);
      CHECK(best.finite);
      CHECK_EQ(best.id, static_cast<int32_t>(std::max_element(x.begin(), x.end()) - x.begin()));
      double sum = 0;
      for (const float v : x) sum += std::exp((double{v} - best.value) * 0.5);
      CHECK(Near(cpu::SumExp(x.data(), n, best.value, 0.5f), sum, 1e-6));
      size_t before = 0;
      for (size_t i = 0; i < n; ++i) before += x[i] > x[n / 3] || (x[i] == x[n / 3] && i < n / 3);
      CHECK_EQ(cpu::CountBefore(x.data(), n, x[n / 3], n / 3), before);
      for (const float bad : {NAN, INFINITY, -INFINITY}) {
        x[n - 1] = bad;
        CHECK(!cpu::FindArgMax(x.data(), n).finite);
      }
    }
  });
}

}  // namespace
}  // namespace skein::test
