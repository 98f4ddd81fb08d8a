#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/program_spec.h"
#include "skein/status.h"

/// Mirror of `native/lib/logit-rules.ts`: same layout, names and order.
namespace skein {

constexpr size_t kLogitRulesHeaderWords = 12;

/// What one request does to its logits before they are sampled, and the tokens that this depends on. Views
/// into packed words, which must outlive it. All ids are in the vocabulary.
struct LogitRules {
  int32_t slot = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;
  int32_t min_tokens = 0;

  std::span<const int32_t> prompt_ids;   ///< those the repetition penalty counts, in any order
  std::span<const int32_t> output_ids;   ///< sampled so far, in order
  std::span<const int32_t> stop_ids;     ///< may not be sampled before min_tokens outputs
  std::span<const int32_t> bias_ids;     ///< each once
  std::span<const int32_t> bias_values;  ///< bits of f32, one per bias id
  std::span<const int32_t> allowed_ids;  ///< rising; empty: all
  std::span<const int32_t> bad_words;    ///< runs of a length >= 1 and that many ids
  /// Tokens whose logprobs a row reports in place of the likeliest; at most max_logprobs.
  std::span<const int32_t> logprob_ids;
};

/// `words` is one whole record. kStepInput names the word and its value.
Status ParseLogitRules(std::span<const int32_t> words, const ProgramSpec& spec, LogitRules* out);

}  // namespace skein
