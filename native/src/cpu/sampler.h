#pragma once

#include <cstddef>
#include <cstdint>

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
};

/// Room for one row of `n` logits each.
struct SamplerScratch {
  float* weights;
  int32_t* ids;
};

/// Draws an id. As vLLM: temperature first, then min_p (relative to the likeliest), top_k, top_p (of what is
/// left, at least one). Equal logits rank by id. The draw inverts the cumulative distribution in id order at
/// a uniform number made from (seed, choice, position). `max_logit` is the row's maximum; the logits are
/// finite.
int32_t SampleToken(const float* logits, size_t n, float max_logit, const SampleParams& params,
                    SamplerScratch scratch);

/// Writes the ids of the `k` (<= n) largest logits, largest first, equal ones by id.
void TopIds(const float* logits, size_t n, size_t k, int32_t* ids);

}  // namespace skein::cpu
