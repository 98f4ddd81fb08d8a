#pragma once

#include <cstddef>
#include <cstdint>

/// Choice of scale and codes for one group of a weight.
namespace skein::stored {

bool AllFinite(const float* values, size_t count);

/// The scale as it will be stored: rounded to f16, or as it is (`wide`).
float StoredScale(float scale, bool wide);

/// Whether f16 lacks the range for this scale: it would overflow, or keep fewer than four bits.
bool NeedsWideScale(float scale);

/// codes = round(values / scale), -127..127, with the least scale that holds the largest value.
float QuantizeInt8(const float* values, size_t count, bool wide, uint8_t* codes);
/// codes = round(values / scale) + 8, 0..15. Of a few scales near the one that reaches the largest value at
/// -8, each moved to its codes' least squares, the one of least squared error.
float QuantizeInt4(const float* values, size_t count, bool wide, uint8_t* codes);
/// codes are e4m3 of values / scale, where the largest is 448.
float QuantizeFp8(const float* values, size_t count, uint8_t* codes);

}  // namespace skein::stored
