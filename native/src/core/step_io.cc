#include "core/step_io.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "core/checked_math.h"
#include "core/logit_rules.h"

namespace skein {
namespace {

constexpr uint32_t kMaxSources = 65536;

Status Bad(const std::string& what, int64_t value, const std::string& need) {
  return {Code::kStepInput, what + " is " + std::to_string(value) + ", needs " + need};
}

Status CheckRange(const char* name, const int32_t* values, size_t count, int64_t low, int64_t high) {
  for (size_t i = 0; i < count; ++i) {
    if (values[i] < low || values[i] > high) {
      return Bad(std::string(name) + "[" + std::to_string(i) + "]", values[i],
                 std::to_string(low) + " to " + std::to_string(high));
    }
  }
  return Status::Ok();
}

Status CheckFloats(const char* name, const int32_t* values, size_t count, float low, bool low_allowed,
                   float high) {
  for (size_t i = 0; i < count; ++i) {
    const float v = StepInput::Float(values, i);
    if (!(v > low || (low_allowed && v == low)) || !(v <= high)) {
      return {Code::kStepInput, std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(v) +
                                    ", needs " + std::to_string(low) +
                                    (low_allowed ? " or more" : " exclusive") + " to " +
                                    std::to_string(high)};
    }
  }
  return Status::Ok();
}

/// starts[0] = 0, never falling, starts[count] = total.
Status CheckStarts(const char* name, const int32_t* starts, size_t count, uint32_t total) {
  int64_t previous = 0;
  for (size_t i = 0; i <= count; ++i) {
    const bool edge = (i == 0 && starts[i] != 0) || (i == count && starts[i] != static_cast<int64_t>(total));
    if (edge || starts[i] < previous || starts[i] > static_cast<int64_t>(total)) {
      return Bad(std::string(name) + "[" + std::to_string(i) + "]", starts[i],
                 "starts that rise from 0 to " + std::to_string(total));
    }
    previous = starts[i];
  }
  return Status::Ok();
}

int64_t Join(int32_t low, int32_t high) {
  return static_cast<int64_t>((uint64_t{static_cast<uint32_t>(high)} << 32) | static_cast<uint32_t>(low));
}

Status CheckSequences(const StepInput& in, const ProgramSpec& spec) {
  for (uint32_t s = 0; s < in.num_seqs; ++s) {
    const int64_t length = int64_t{in.num_computed_tokens[s]} + in.query_start[s + 1] - in.query_start[s];
    if (length > int64_t{spec.limits.max_model_len}) {
      return Bad("the length of sequence " + std::to_string(s), length,
                 "at most maxModelLen " + std::to_string(spec.limits.max_model_len));
    }
    const int64_t blocks = in.block_start[s + 1] - in.block_start[s];
    if (blocks * int64_t{spec.kv_cache.block_size} < length) {
      return Bad("the number of blocks of sequence " + std::to_string(s), blocks,
                 "enough for " + std::to_string(length) + " positions of " +
                     std::to_string(spec.kv_cache.block_size) + " a block");
    }
  }
  return Status::Ok();
}

Status CheckRows(const StepInput& in, const ProgramSpec& spec) {
  const size_t n = in.num_rows;
  const int64_t vocab = spec.vocab_size;
  if (Status s = CheckRange("rowToken", in.row_token, n, 0, int64_t{in.num_tokens} - 1); !s.ok()) return s;
  if (Status s = CheckRange("rowTarget", in.row_target, n, -1, vocab - 1); !s.ok()) return s;
  if (Status s = CheckRange("rowSlot", in.row_slot, n, -1, int64_t{spec.limits.num_slots} - 1); !s.ok())
    return s;
  if (Status s = CheckFloats("rowTemperature", in.row_temperature, n, 0, true, 1e6f); !s.ok()) return s;
  if (Status s = CheckRange("rowTopK", in.row_top_k, n, 0, INT32_MAX); !s.ok()) return s;
  if (Status s = CheckFloats("rowTopP", in.row_top_p, n, 0, false, 1); !s.ok()) return s;
  if (Status s = CheckFloats("rowMinP", in.row_min_p, n, 0, true, 1); !s.ok()) return s;
  if (Status s = CheckRange("rowNumLogprobs", in.row_num_logprobs, n, -1, in.max_logprobs); !s.ok()) return s;
  if (Status s = CheckRange("rowRuled", in.row_ruled, n, 0, 1); !s.ok()) return s;
  for (size_t i = 0; i < n; ++i) {
    if (in.row_ruled[i] == 1 && (in.row_target[i] >= 0 || in.row_slot[i] < 0)) {
      return Bad("rowRuled[" + std::to_string(i) + "]", 1, "a row that samples into a slot");
    }
  }
  return Status::Ok();
}

/// As many counts as the program's experts have sources, this rank's own among them. They go to every stage:
/// one that has no such experts makes nothing of them.
Status CheckSources(const StepInput& in, const ProgramSpec& spec) {
  const auto spread =
      std::find_if(spec.ops.begin(), spec.ops.end(), [](const Op& op) { return op.num_sources() > 1; });
  if (spread == spec.ops.end()) return Status::Ok();
  const int64_t want = spread->num_sources();
  if (in.num_sources != want) return Bad("numSources", in.num_sources, std::to_string(want));
  if (Status s = CheckRange("sourceTokens", in.source_tokens, in.num_sources, 0, spec.limits.max_tokens);
      !s.ok()) {
    return s;
  }
  const auto group = std::find_if(spec.groups.begin(), spec.groups.end(),
                                  [&](const RankGroup& g) { return g.name == spread->group; });
  const uint32_t own = spread->sources[group->rank];
  if (in.source_tokens[own] == static_cast<int64_t>(in.num_tokens)) return Status::Ok();
  return Bad("sourceTokens[" + std::to_string(own) + "]", in.source_tokens[own],
             "numTokens " + std::to_string(in.num_tokens));
}

Status CheckRules(const StepInput& in, const ProgramSpec& spec) {
  LogitRules rules;
  for (uint32_t i = 0; i < in.num_rules; ++i) {
    if (Status s = ParseLogitRules(in.Rules(i), spec, &rules); !s.ok()) return s;
  }
  return Status::Ok();
}

}  // namespace

Status ParseStepInput(std::span<const int32_t> words, const ProgramSpec& spec, StepInput* out) {
  if (words.size() < kStepInputHeaderWords) {
    return Bad("the number of words", static_cast<int64_t>(words.size()), "a header of 16");
  }
  const ProgramLimits& limits = spec.limits;
  if (static_cast<uint32_t>(words[0]) != kStepInputMagic) return Bad("magic", words[0], "0x536b4e31");
  if (words[1] != 2) return Bad("version", words[1], "2");
  const auto count = [&](const char* name, size_t word, int64_t high) {
    return CheckRange(name, &words[word], 1, 0, high);
  };
  if (Status s = count("numTokens", 4, limits.max_tokens); !s.ok()) return s;
  if (Status s = count("numSeqs", 5, limits.max_seqs); !s.ok()) return s;
  if (Status s = count("numBlockIds", 6, INT32_MAX); !s.ok()) return s;
  if (Status s = count("numRows", 7, limits.max_rows); !s.ok()) return s;
  if (Status s = count("maxLogprobs", 8, limits.max_logprobs); !s.ok()) return s;
  if (Status s = count("numRules", 11, limits.num_slots); !s.ok()) return s;
  if (Status s = count("numRuleWords", 12, INT32_MAX); !s.ok()) return s;
  if (Status s = count("numSources", 13, kMaxSources); !s.ok()) return s;
  for (size_t i = 14; i < kStepInputHeaderWords; ++i) {
    if (words[i] != 0) return Bad("reserved word " + std::to_string(i), words[i], "0");
  }

  StepInput in;
  in.step = Join(words[2], words[3]);
  in.feedback_step = Join(words[9], words[10]);
  if (in.step < 0) return Bad("step", in.step, "0 or more");
  if (in.feedback_step < -1) return Bad("feedbackStep", in.feedback_step, "-1 or more");
  in.num_tokens = static_cast<uint32_t>(words[4]);
  in.num_seqs = static_cast<uint32_t>(words[5]);
  const auto num_block_ids = static_cast<uint32_t>(words[6]);
  in.num_rows = static_cast<uint32_t>(words[7]);
  in.max_logprobs = static_cast<uint32_t>(words[8]);
  in.num_rules = static_cast<uint32_t>(words[11]);
  const auto num_rule_words = static_cast<uint32_t>(words[12]);
  in.num_sources = static_cast<uint32_t>(words[13]);
  // Every term is below 2^36, so the sum fits.
  const size_t need = kStepInputHeaderWords + size_t{in.num_tokens} + 3 * size_t{in.num_seqs} + 2 +
                      num_block_ids + 13 * size_t{in.num_rows} + size_t{in.num_rules} + 1 + num_rule_words +
                      in.num_sources;
  if (words.size() != need) {
    return Bad("the number of words", static_cast<int64_t>(words.size()),
               std::to_string(need) + " for its counts");
  }

  const int32_t* at = words.data() + kStepInputHeaderWords;
  const auto take = [&](size_t n) {
    const int32_t* section = at;
    at += n;
    return section;
  };
  in.token_ids = take(in.num_tokens);
  in.query_start = take(size_t{in.num_seqs} + 1);
  in.num_computed_tokens = take(in.num_seqs);
  in.block_start = take(size_t{in.num_seqs} + 1);
  in.block_ids = take(num_block_ids);
  in.row_token = take(in.num_rows);
  in.row_target = take(in.num_rows);
  in.row_slot = take(in.num_rows);
  in.row_temperature = take(in.num_rows);
  in.row_top_k = take(in.num_rows);
  in.row_top_p = take(in.num_rows);
  in.row_min_p = take(in.num_rows);
  in.row_seed_low = take(in.num_rows);
  in.row_seed_high = take(in.num_rows);
  in.row_choice = take(in.num_rows);
  in.row_position = take(in.num_rows);
  in.row_num_logprobs = take(in.num_rows);
  in.row_ruled = take(in.num_rows);
  in.rule_start = take(size_t{in.num_rules} + 1);
  in.rule_words = take(num_rule_words);
  in.source_tokens = take(in.num_sources);

  if (Status s = CheckRange("tokenIds", in.token_ids, in.num_tokens, -int64_t{limits.num_slots},
                            int64_t{spec.vocab_size} - 1);
      !s.ok()) {
    return s;
  }
  if (Status s = CheckStarts("queryStart", in.query_start, in.num_seqs, in.num_tokens); !s.ok()) return s;
  if (Status s =
          CheckRange("numComputedTokens", in.num_computed_tokens, in.num_seqs, 0, limits.max_model_len);
      !s.ok()) {
    return s;
  }
  if (Status s = CheckStarts("blockStart", in.block_start, in.num_seqs, num_block_ids); !s.ok()) return s;
  if (Status s =
          CheckRange("blockIds", in.block_ids, num_block_ids, 0, int64_t{spec.kv_cache.num_blocks} - 1);
      !s.ok()) {
    return s;
  }
  if (Status s = CheckSequences(in, spec); !s.ok()) return s;
  if (Status s = CheckRows(in, spec); !s.ok()) return s;
  if (Status s = CheckStarts("ruleStart", in.rule_start, in.num_rules, num_rule_words); !s.ok()) return s;
  if (Status s = CheckRules(in, spec); !s.ok()) return s;
  if (Status s = CheckSources(in, spec); !s.ok()) return s;
  *out = in;
  return Status::Ok();
}

void StepOutput::Resize(uint32_t num_rows, uint32_t max_logprobs) {
  num_rows_ = num_rows;
  max_logprobs_ = max_logprobs;
  const size_t n = num_rows;
  words_.assign(2 + 3 * n + 2 * n * max_logprobs, 0);
  words_[0] = static_cast<int32_t>(num_rows);
  words_[1] = static_cast<int32_t>(max_logprobs);
  for (size_t i = 0; i < n; ++i) words_[2 + i] = -1;
  for (size_t i = 0; i < n * max_logprobs; ++i) words_[2 + 3 * n + i] = -1;
}

void StepOutput::SetLogprob(uint32_t row, float logprob, int32_t rank) {
  words_[2 + size_t{num_rows_} + row] = std::bit_cast<int32_t>(logprob);
  words_[2 + 2 * size_t{num_rows_} + row] = rank;
}

void StepOutput::SetTop(uint32_t row, uint32_t index, int32_t id, float logprob) {
  const size_t at = 2 + 3 * size_t{num_rows_} + size_t{row} * max_logprobs_ + index;
  words_[at] = id;
  words_[at + size_t{num_rows_} * max_logprobs_] = std::bit_cast<int32_t>(logprob);
}

}  // namespace skein
