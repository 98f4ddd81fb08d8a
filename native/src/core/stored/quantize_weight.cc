#include "core/stored/quantize_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/float_bits.h"

namespace skein::stored {
namespace {

/// Added and taken away, it leaves a number below 2^22 rounded to an integer, nearest even, in plain
/// arithmetic that compilers vectorize.
constexpr float kRounder = 12582912.0f;

float Rounded(float value) { return (value + kRounder) - kRounder; }

/// The codes of one candidate scale, judged by what they explain of the values.
struct Fit {
  float products = 0;  // sum of code * value
  float squares = 0;   // sum of code^2
};

Fit FitInt4(const float* values, size_t count, float inverse) {
  constexpr size_t kLanes = 8;
  float products[kLanes] = {}, squares[kLanes] = {};
  const auto add = [&](size_t i, size_t lane) {
    const float code = std::min(7.0f, std::max(-8.0f, Rounded(values[i] * inverse)));
    products[lane] += code * values[i];
    squares[lane] += code * code;
  };
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  for (; i < count; ++i) add(i, i % kLanes);
  Fit fit;
  for (size_t lane = 0; lane < kLanes; ++lane) fit.products += products[lane], fit.squares += squares[lane];
  return fit;
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
  for (size_t i = 0; i < count; ++i) {
    const float code = std::min(127.0f, std::max(-127.0f, Rounded(values[i] * inverse)));
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(code));
  }
  return scale;
}

float QuantizeInt4(const float* values, size_t count, bool wide, uint8_t* codes) {
  const float largest = LargestMagnitude(values, count);
  const float* extreme =
      std::find_if(values, values + count, [&](float v) { return std::fabs(v) == largest; });
  float scale = largest == 0 ? 0 : *extreme / -8, best = -1;
  for (const float reach : {9.0f, 8.0f, 7.2f}) {
    const float inverse = largest == 0 ? 0 : -reach / *extreme;
    if (inverse == 0 || !std::isfinite(inverse)) break;
    const Fit fit = FitInt4(values, count, inverse);
    const float explained = fit.squares == 0 ? 0 : fit.products / fit.squares * fit.products;
    if (explained > best) best = explained, scale = fit.products / fit.squares;
  }
  scale = StoredScale(scale, wide);
  const float inverse = Inverse(scale);
  for (size_t i = 0; i < count; ++i) {
    const float code = std::min(7.0f, std::max(-8.0f, Rounded(values[i] * inverse)));
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>(code) + 8);
  }
  return scale;
}

float QuantizeFp8(const float* values, size_t count, uint8_t* codes) {
  const float scale = LargestMagnitude(values, count) / 448, inverse = Inverse(scale);
  for (size_t i = 0; i < count; ++i) codes[i] = F8E4M3FromFloat(values[i] * inverse);
  return scale;
}

}  // namespace skein::stored
