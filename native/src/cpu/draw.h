#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace skein::cpu {

/// Where a row's noise begins.
struct NoiseKey {
  uint32_t key, counter;
};

/// The same for every call with the same arguments, whoever makes it.
NoiseKey NoiseKeyOf(uint32_t seed_low, uint32_t seed_high, uint32_t choice, uint32_t position);

/// The winner so far; the lowest id of equals.
struct Draw {
  float score = -std::numeric_limits<float>::infinity();
  int32_t id = std::numeric_limits<int32_t>::max();

  void Take(const Draw& other) {
    if (other.score > score || (other.score == score && other.id < id)) *this = other;
  }
};

/// Draws from softmax(logits * factor) over whatever logits one row's calls are made with, in any order and
/// any pieces: the id with the largest logit * factor + noise wins, where the noise of an id, -log(-log(u)),
/// is a function of `key` and the id alone (Gumbel 1954, "the Gumbel-max trick"; u from Philox 2x32-10).
/// `logits` are those of ids from `first_id` on, finite or -infinity, which never wins.
void DrawBest(const float* logits, size_t n, int32_t first_id, float factor, NoiseKey key, Draw* best);

}  // namespace skein::cpu
