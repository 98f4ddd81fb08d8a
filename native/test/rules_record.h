#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace skein::test {

/// Logit rules of a request, some of them.
struct Rules {
  int32_t slot = 0;
  float repetition = 1;
  int32_t min_tokens = 0;
  std::vector<int32_t> outputs, stops, allowed, words, logprob_ids;
};

inline std::vector<int32_t> Record(const Rules& r) {
  const auto n = [](const std::vector<int32_t>& v) { return static_cast<int32_t>(v.size()); };
  std::vector<int32_t> words = {r.slot,
                                0,
                                0,
                                std::bit_cast<int32_t>(r.repetition),
                                r.min_tokens,
                                0,
                                n(r.outputs),
                                n(r.stops),
                                0,
                                n(r.allowed),
                                n(r.words),
                                n(r.logprob_ids)};
  for (const auto* list : {&r.outputs, &r.stops, &r.allowed, &r.words, &r.logprob_ids}) {
    words.insert(words.end(), list->begin(), list->end());
  }
  return words;
}

}  // namespace skein::test
