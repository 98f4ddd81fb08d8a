#include "core/stored/quantize_weight.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/float_bits.h"

namespace skein::stored {
namespace {

/// Added and taken away, it leaves a number below 2^22 rounded to an integer, nearest even, in plain
/// arithmetic that compilers vectorize.
constexpr float kRounder = 12582912.0f;

/// The codes of one candidate scale, judged by what they explain of the values.
struct Fit {
  float products = 0;  // sum of code * value
  float squares = 0;   // sum of code^2
};

/// As many lanes whatever the processor has, so that sums do not depend on it.
constexpr size_t kLanes = 4;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

/// Zeros past the end.
inline Lanes LoadLanes(const float* from, size_t count) {
  Lanes lanes{};
  if (count >= kLanes) [[likely]] {
    std::memcpy(&lanes, from, sizeof(lanes));
  } else {
    std::memcpy(&lanes, from, count * sizeof(float));
  }
  return lanes;
}

/// Nearest even, then within [low, high].
inline Lanes RoundedWithin(Lanes values, float low, float high) {
  const Lanes lows = Lanes{} + low, highs = Lanes{} + high;
  Lanes codes = (values + kRounder) - kRounder;
  codes = codes < lows ? lows : codes;
  return codes > highs ? highs : codes;
}

/// How far beyond the codes' end the largest value may reach, the candidates: it is clipped to -8 at 9, and
/// leaves the finest steps to the others at 7.2.
constexpr size_t kReaches = 3;
constexpr float kReach[kReaches] = {9.0f, 8.0f, 7.2f};

/// All candidates in one pass: their sums do not wait for each other.
std::array<Fit, kReaches> FitInt4(const float* values, size_t count,
                                  const std::array<float, kReaches>& inverses) {
  Lanes products[kReaches] = {}, squares[kReaches] = {};
  for (size_t i = 0; i < count; i += kLanes) {
    const Lanes lanes = LoadLanes(values + i, count - i);
    for (size_t c = 0; c < kReaches; ++c) {
      const Lanes codes = RoundedWithin(lanes * inverses[c], -8, 7);
      products[c] += codes * lanes;
      squares[c] += codes * codes;
    }
  }
  std::array<Fit, kReaches> fits;
  for (size_t c = 0; c < kReaches; ++c) {
    for (size_t lane = 0; lane < kLanes; ++lane)
      fits[c].products += products[c][lane], fits[c].squares += squares[c][lane];
  }
  return fits;
}

/// codes = round(values * inverse) within [low, high], plus `zero`.
void RoundToCodes(const float* values, size_t count, float inverse, float low, float high, int32_t zero,
                  uint8_t* codes) {
  for (size_t i = 0; i < count; ++i) {
    const float rounded = (values[i] * inverse + kRounder) - kRounder;
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(std::min(high, std::max(low, rounded))) + zero);
  }
}

/// By its bits: they order numbers of one sign as their values do, and integers vectorize.
float LargestMagnitude(const float* values, size_t count) {
  int32_t largest = 0;
  for (size_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
  return std::bit_cast<float>(largest);
}

/// 1 / scale where that is a number: what is too small for it has codes of zero.
float Inverse(float scale) {
  const float inverse = 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

}  // namespace

bool AllFinite(const float* values, size_t count) { return std::isfinite(LargestMagnitude(values, count)); }

float StoredScale(float scale, bool wide) { return wide ? scale : FloatFromF16(F16FromFloat(scale)); }

bool NeedsWideScale(float scale) {
  const float size = std::fabs(scale);
  return size != 0 && (size > 65504.0f || size < 0x1p-20f);
}

float QuantizeInt8(const float* values, size_t count, bool wide, uint8_t* codes) {
  const float largest = LargestMagnitude(values, count);
  const float scale = StoredScale(largest / 127, wide), inverse = Inverse(scale);
  RoundToCodes(values, count, inverse, -127, 127, 0, codes);
  return scale;
}

float QuantizeInt4(const float* values, size_t count, bool wide, uint8_t* codes) {
  const float largest = LargestMagnitude(values, count);
  int positive = 0;
  for (size_t i = 0; i < count; ++i) positive |= values[i] == largest;
  const float extreme = positive != 0 ? largest : -largest;
  float scale = extreme / -8, best = -1;
  std::array<float, kReaches> inverses{};
  for (size_t c = 0; c < kReaches; ++c) inverses[c] = -kReach[c] / extreme;
  // Of values too small for that, the codes are zero.
  if (std::isfinite(inverses[0])) {
    for (const Fit& fit : FitInt4(values, count, inverses)) {
      const float explained = fit.products * (fit.products / fit.squares);
      if (fit.squares > 0 && explained > best) best = explained, scale = fit.products / fit.squares;
    }
  }
  scale = StoredScale(scale, wide);
  RoundToCodes(values, count, Inverse(scale), -8, 7, 8, codes);
  return scale;
}

float QuantizeFp8(const float* values, size_t count, uint8_t* codes) {
  const float scale = LargestMagnitude(values, count) / 448, inverse = Inverse(scale);
  for (size_t i = 0; i < count; ++i) codes[i] = F8E4M3FromFloat(values[i] * inverse);
  return scale;
}

}  // namespace skein::stored
