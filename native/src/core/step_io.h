#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "core/program_spec.h"
#include "skein/status.h"

/// Mirror of `native/lib/step-io.ts`: same layout, names and order.
namespace skein {

constexpr uint32_t kStepInputMagic = 0x536b4e31;
constexpr size_t kStepInputHeaderWords = 16;

/// A checked step input: views into the packed words, which must outlive it.
struct StepInput {
  int64_t step = 0;
  int64_t feedback_step = -1;
  uint32_t num_tokens = 0;
  uint32_t num_seqs = 0;
  uint32_t num_rows = 0;
  uint32_t max_logprobs = 0;
  uint32_t num_rules = 0;
  uint32_t num_sources = 0;

  const int32_t* token_ids = nullptr;
  const int32_t* query_start = nullptr;
  const int32_t* num_computed_tokens = nullptr;
  const int32_t* block_start = nullptr;
  const int32_t* block_ids = nullptr;
  const int32_t* row_token = nullptr;
  const int32_t* row_target = nullptr;
  const int32_t* row_slot = nullptr;
  const int32_t* row_temperature = nullptr;  ///< bits of an f32; read with Float()
  const int32_t* row_top_k = nullptr;
  const int32_t* row_top_p = nullptr;  ///< bits of an f32; read with Float()
  const int32_t* row_min_p = nullptr;  ///< bits of an f32; read with Float()
  const int32_t* row_seed_low = nullptr;
  const int32_t* row_seed_high = nullptr;
  const int32_t* row_choice = nullptr;
  const int32_t* row_position = nullptr;
  const int32_t* row_num_logprobs = nullptr;
  const int32_t* row_ruled = nullptr;
  const int32_t* rule_start = nullptr;
  const int32_t* rule_words = nullptr;  ///< records that ParseLogitRules accepts
  const int32_t* source_tokens = nullptr;

  static float Float(const int32_t* words, size_t index) { return std::bit_cast<float>(words[index]); }
  /// The packed logit rules number `index`, below num_rules.
  std::span<const int32_t> Rules(size_t index) const {
    return {rule_words + rule_start[index], static_cast<size_t>(rule_start[index + 1] - rule_start[index])};
  }
};

/// Checks every word against the program's limits, so that no kernel needs to. kStepInput names the word and
/// its value.
Status ParseStepInput(std::span<const int32_t> words, const ProgramSpec& spec, StepInput* out);

/// Writes results into the packed output words.
class StepOutput {
 public:
  /// Sizes the words for a step; ids and top ids start at -1, ranks at 0.
  void Resize(uint32_t num_rows, uint32_t max_logprobs);
  void SetToken(uint32_t row, int32_t id) { words_[2 + row] = id; }
  int32_t token(uint32_t row) const { return words_[2 + row]; }
  void SetLogprob(uint32_t row, float logprob, int32_t rank);
  void SetTop(uint32_t row, uint32_t index, int32_t id, float logprob);
  std::vector<int32_t>& words() { return words_; }

 private:
  uint32_t num_rows_ = 0;
  uint32_t max_logprobs_ = 0;
  std::vector<int32_t> words_;
};

}  // namespace skein
