#include "cpu/slot_rules.h"

#include <algorithm>
#include <bit>

namespace skein::cpu {
namespace {

/// Where changed logits stay within, so that no sum of them overflows and none reaches kForbidden.
constexpr float kLogitMax = 1e38f;

float Bounded(float logit) { return std::clamp(logit, -kLogitMax, kLogitMax); }

}  // namespace

void SlotRules::Install(const LogitRules& rules) {
  presence_penalty_ = rules.presence_penalty;
  frequency_penalty_ = rules.frequency_penalty;
  repetition_penalty_ = rules.repetition_penalty;
  min_tokens_ = static_cast<size_t>(rules.min_tokens);
  stop_ids_.assign(rules.stop_ids.begin(), rules.stop_ids.end());
  allowed_ids_.assign(rules.allowed_ids.begin(), rules.allowed_ids.end());
  bad_words_.assign(rules.bad_words.begin(), rules.bad_words.end());
  logprob_ids_.assign(rules.logprob_ids.begin(), rules.logprob_ids.end());
  biases_.clear();
  for (size_t i = 0; i < rules.bias_ids.size(); ++i) {
    biases_.emplace_back(rules.bias_ids[i], std::bit_cast<float>(rules.bias_values[i]));
  }
  outputs_.clear();
  seen_.clear();
  std::vector<int32_t> prompt(rules.prompt_ids.begin(), rules.prompt_ids.end());
  std::sort(prompt.begin(), prompt.end());
  for (const int32_t id : prompt) {
    if (seen_.empty() || seen_.back().id != id) seen_.push_back({id, 0});
  }
  for (const int32_t id : rules.output_ids) Append(id);
}

std::vector<SlotRules::Seen>::iterator SlotRules::FindSeen(int32_t id) {
  return std::lower_bound(seen_.begin(), seen_.end(), id,
                          [](const Seen& seen, int32_t other) { return seen.id < other; });
}

void SlotRules::Append(int32_t id) {
  outputs_.push_back(id);
  if (presence_penalty_ == 0 && frequency_penalty_ == 0 && repetition_penalty_ == 1) return;
  auto at = FindSeen(id);
  if (at == seen_.end() || at->id != id) at = seen_.insert(at, {id, 0});
  ++at->num_outputs;
}

void SlotRules::AddBiasAndPenalties(float* logits) const {
  for (const auto& [id, value] : biases_) logits[id] = Bounded(logits[id] + value);
  for (const Seen& seen : seen_) {
    float logit = logits[seen.id];
    logit = logit > 0 ? logit / repetition_penalty_ : logit * repetition_penalty_;
    if (seen.num_outputs > 0) {
      logit -= frequency_penalty_ * static_cast<float>(seen.num_outputs);
      logit -= presence_penalty_;
    }
    logits[seen.id] = Bounded(logit);
  }
}

void SlotRules::ForbidDisallowed(float* logits, size_t n) const {
  if (allowed_ids_.empty()) return;
  size_t next = 0;
  for (const int32_t id : allowed_ids_) {
    std::fill(logits + next, logits + id, kForbidden);
    next = static_cast<size_t>(id) + 1;
  }
  std::fill(logits + next, logits + n, kForbidden);
}

void SlotRules::ForbidWordsAndStops(float* logits) const {
  for (size_t at = 0; at < bad_words_.size();) {
    const auto length = static_cast<size_t>(bad_words_[at]);
    const auto word = bad_words_.begin() + static_cast<long>(at) + 1;
    const size_t prefix = length - 1;
    if (prefix <= outputs_.size() &&
        std::equal(outputs_.end() - static_cast<long>(prefix), outputs_.end(), word)) {
      logits[word[static_cast<long>(prefix)]] = kForbidden;
    }
    at += 1 + length;
  }
  if (outputs_.size() >= min_tokens_) return;
  for (const int32_t id : stop_ids_) logits[id] = kForbidden;
}

}  // namespace skein::cpu
