#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/draw.h"

namespace skein::cpu {

/// How one row is sampled. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off.
struct SampleParams {
  float temperature = 0;
  uint32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  uint32_t seed_low = 0;
  uint32_t seed_high = 0;
  uint32_t choice = 0;
  uint32_t position = 0;

  /// What logits are multiplied by; for temperature > 0.
  float factor() const {
    // Below this the likeliest id has all the weight f32 can tell apart, and the factor would overflow.
    constexpr float kMinTemperature = 1e-5f;
    return 1.0f / std::max(temperature, kMinTemperature);
  }
  NoiseKey noise() const { return NoiseKeyOf(seed_low, seed_high, choice, position); }
};

/// Room for one row of `n` logits each.
struct SamplerScratch {
  float* weights;
  int32_t* ids;
};

/// Draws an id. As vLLM: temperature first, then min_p (relative to the likeliest), top_k, top_p (of what is
/// left, at least one). Equal logits rank by id. The draw among what is left is DrawBest's. `max_logit` is
/// the row's maximum; the logits are finite, or -infinity where an id is forbidden.
int32_t SampleToken(const float* logits, size_t n, float max_logit, const SampleParams& params,
                    SamplerScratch scratch);

/// Writes the ids of the `k` (<= n) largest logits, largest first, equal ones by id.
void TopIds(const float* logits, size_t n, size_t k, int32_t* ids);

}  // namespace skein::cpu
