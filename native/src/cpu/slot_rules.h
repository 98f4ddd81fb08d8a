#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "core/logit_rules.h"

namespace skein::cpu {

/// What a token that may not be sampled has for a logit: below every other, and still finite.
constexpr float kForbidden = std::numeric_limits<float>::lowest();

/// The logit rules of the request in one feedback slot, kept from step to step with the tokens sampled under
/// them. Everything here came from a step's words or was sampled since: the leader sends it anew whenever the
/// request starts over, so nothing is lost with a rank. This is the one thing of a step that may allocate:
/// lists grow by a token per output.
class SlotRules {
 public:
  /// Copies `rules`; what stood here before is gone.
  void Install(const LogitRules& rules);
  /// Counts a sampled token.
  void Append(int32_t id);
  size_t num_outputs() const { return outputs_.size(); }
  /// Tokens to report on in place of the likeliest; empty: none in particular.
  const std::vector<int32_t>& logprob_ids() const { return logprob_ids_; }
  bool forbids_some() const { return !bad_words_.empty() || outputs_.size() < min_tokens_; }

  /// The parts below, in the order in which they apply, change one row of `n` logits in place. vLLM masks
  /// first and adds biases and penalties to what is left; since a masked logit stays masked, the order makes
  /// no difference. `logits` are finite and stay so.

  /// Biases, then the penalties: repetition (prompt and output), frequency and presence (output).
  void AddBiasAndPenalties(float* logits) const;
  /// Forbids all but the allowed ids, if there is such a list.
  void ForbidDisallowed(float* logits, size_t n) const;
  /// Forbids the last token of each bad word whose beginning the outputs end with, and stop tokens before
  /// min_tokens outputs.
  void ForbidWordsAndStops(float* logits) const;

 private:
  /// A token that occurred.
  struct Seen {
    int32_t id;
    uint32_t num_outputs;
  };

  std::vector<Seen>::iterator FindSeen(int32_t id);

  float presence_penalty_ = 0, frequency_penalty_ = 0, repetition_penalty_ = 1;
  size_t min_tokens_ = 0;
  std::vector<int32_t> outputs_;
  std::vector<Seen> seen_;  // by rising id; only when there are penalties
  std::vector<int32_t> stop_ids_, allowed_ids_, bad_words_, logprob_ids_;
  std::vector<std::pair<int32_t, float>> biases_;
};

}  // namespace skein::cpu
