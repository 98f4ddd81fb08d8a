#include "core/logit_rules.h"

#include <bit>
#include <string>

namespace skein {
namespace {

Status Bad(const char* name, const std::string& value, const std::string& need) {
  return {Code::kStepInput, std::string("logit rules: ") + name + " is " + value + ", needs " + need};
}

Status CheckCount(const char* name, int32_t value) {
  return value >= 0 ? Status::Ok() : Bad(name, std::to_string(value), "0 or more");
}

Status CheckFloat(const char* name, float value, float low, float high) {
  if (value >= low && value <= high) return Status::Ok();
  return Bad(name, std::to_string(value), std::to_string(low) + " to " + std::to_string(high));
}

Status CheckIds(const char* name, std::span<const int32_t> ids, uint32_t vocab_size) {
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<uint32_t>(id) >= vocab_size) {
      return Bad(name, std::to_string(id), "an id below " + std::to_string(vocab_size));
    }
  }
  return Status::Ok();
}

Status CheckBadWords(std::span<const int32_t> words, uint32_t vocab_size) {
  for (size_t at = 0; at < words.size();) {
    const int32_t length = words[at];
    const size_t left = words.size() - at - 1;
    if (length < 1 || static_cast<size_t>(length) > left) {
      return Bad("the length of a bad word", std::to_string(length), "1 to " + std::to_string(left));
    }
    const auto ids = words.subspan(at + 1, static_cast<size_t>(length));
    if (Status s = CheckIds("badWords", ids, vocab_size); !s.ok()) return s;
    at += 1 + ids.size();
  }
  return Status::Ok();
}

}  // namespace

Status ParseLogitRules(std::span<const int32_t> words, const ProgramSpec& spec, LogitRules* out) {
  if (words.size() < kLogitRulesHeaderWords) {
    return Bad("the number of words", std::to_string(words.size()), "a header of 12");
  }
  LogitRules rules;
  rules.slot = words[0];
  if (rules.slot < 0 || static_cast<uint32_t>(rules.slot) >= spec.limits.num_slots) {
    return Bad("slot", std::to_string(rules.slot), "a slot below " + std::to_string(spec.limits.num_slots));
  }
  rules.presence_penalty = std::bit_cast<float>(words[1]);
  rules.frequency_penalty = std::bit_cast<float>(words[2]);
  rules.repetition_penalty = std::bit_cast<float>(words[3]);
  rules.min_tokens = words[4];
  if (Status s = CheckFloat("presencePenalty", rules.presence_penalty, -1e3f, 1e3f); !s.ok()) return s;
  if (Status s = CheckFloat("frequencyPenalty", rules.frequency_penalty, -1e3f, 1e3f); !s.ok()) return s;
  if (Status s = CheckFloat("repetitionPenalty", rules.repetition_penalty, 1e-6f, 1e6f); !s.ok()) return s;
  if (Status s = CheckCount("minTokens", rules.min_tokens); !s.ok()) return s;

  // Every count is below 2^31, so the sum fits.
  size_t need = kLogitRulesHeaderWords;
  for (size_t i = 5; i < kLogitRulesHeaderWords; ++i) {
    if (Status s = CheckCount("a count", words[i]); !s.ok()) return s;
    need += static_cast<size_t>(words[i]) * (i == 8 ? 2 : 1);
  }
  if (words.size() != need) {
    return Bad("the number of words", std::to_string(words.size()), std::to_string(need) + " for its counts");
  }
  size_t at = kLogitRulesHeaderWords;
  const auto take = [&](size_t count_word) {
    const auto section = words.subspan(at, static_cast<size_t>(words[count_word]));
    at += section.size();
    return section;
  };
  rules.prompt_ids = take(5);
  rules.output_ids = take(6);
  rules.stop_ids = take(7);
  rules.bias_ids = take(8);
  rules.bias_values = take(8);
  rules.allowed_ids = take(9);
  rules.bad_words = take(10);
  rules.logprob_ids = take(11);

  const uint32_t vocab = spec.vocab_size;
  if (Status s = CheckIds("promptIds", rules.prompt_ids, vocab); !s.ok()) return s;
  if (Status s = CheckIds("outputIds", rules.output_ids, vocab); !s.ok()) return s;
  if (Status s = CheckIds("stopIds", rules.stop_ids, vocab); !s.ok()) return s;
  if (Status s = CheckIds("biasIds", rules.bias_ids, vocab); !s.ok()) return s;
  for (const int32_t bits : rules.bias_values) {
    if (Status s = CheckFloat("biasValues", std::bit_cast<float>(bits), -1e6f, 1e6f); !s.ok()) return s;
  }
  if (Status s = CheckIds("allowedIds", rules.allowed_ids, vocab); !s.ok()) return s;
  for (size_t i = 1; i < rules.allowed_ids.size(); ++i) {
    if (rules.allowed_ids[i] <= rules.allowed_ids[i - 1]) {
      return Bad("allowedIds", std::to_string(rules.allowed_ids[i]), "rising ids");
    }
  }
  if (Status s = CheckBadWords(rules.bad_words, vocab); !s.ok()) return s;
  if (Status s = CheckIds("logprobIds", rules.logprob_ids, vocab); !s.ok()) return s;
  if (rules.logprob_ids.size() > spec.limits.max_logprobs) {
    return Bad("numLogprobIds", std::to_string(rules.logprob_ids.size()),
               "at most " + std::to_string(spec.limits.max_logprobs));
  }
  *out = rules;
  return Status::Ok();
}

}  // namespace skein
