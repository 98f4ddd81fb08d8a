#include "core/logit_rules.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <sstream>

#include "cpu/slot_rules.h"
#include "rules_record.h"
#include "tiny_model.h"

// The rules against torch and transformers (test/fixtures/logit_rules.py), and what the sample op makes of
// them over steps: slots, counting, and rows without rules beside.
namespace skein::test {
namespace {

/// Takes `n` words off the front.
std::vector<int32_t> Take(std::istringstream& line, size_t n) {
  std::vector<int32_t> words(n);
  for (int32_t& word : words) line >> word;
  CHECK(!line.fail());
  return words;
}

size_t TakeCount(std::istringstream& line) { return static_cast<size_t>(Take(line, 1)[0]); }

TEST(RulesDoWhatTheReferenceDoes) {
  std::ifstream file(SKEIN_FIXTURES "/logit-rules.txt");
  std::string text;
  int cases = 0, forbidden = 0;
  for (; std::getline(file, text); ++cases) {
    std::istringstream line(text);
    ProgramSpec spec;
    spec.vocab_size = static_cast<uint32_t>(TakeCount(line));
    spec.limits.num_slots = 1;
    const std::vector<int32_t> record = Take(line, TakeCount(line));
    LogitRules rules;
    CHECK_OK(ParseLogitRules(record, spec, &rules));
    cpu::SlotRules slot;
    slot.Install(rules);
    for (const int32_t id : Take(line, TakeCount(line))) slot.Append(id);
    std::vector<float> logits;
    for (const int32_t bits : Take(line, spec.vocab_size)) logits.push_back(std::bit_cast<float>(bits));
    slot.AddBiasAndPenalties(logits.data());
    slot.ForbidDisallowed(logits.data(), logits.size());
    slot.ForbidWordsAndStops(logits.data());
    for (const float logit : logits) {
      const float want = std::bit_cast<float>(Take(line, 1)[0]);
      CHECK_EQ(logit, std::isinf(want) ? cpu::kForbidden : want);
      forbidden += std::isinf(want);
    }
  }
  CHECK_EQ(cases, 60);
  CHECK(forbidden > 100);
}

/// The tokens that one step samples after the sequence {5}, one per row; row i is output `positions[i]`.
std::vector<int32_t> Sampled(Runner& runner, const std::vector<Row>& rows,
                             const std::vector<int32_t>& positions, const std::vector<Rules>& rules) {
  std::vector<std::vector<int32_t>> records;
  for (const Rules& r : rules) records.push_back(Record(r));
  std::vector<int32_t> words = Pack({{{5}, 0, {1}}}, rows, records);
  const size_t position_column = 16 + 1 + 2 + 1 + 2 + 1 + 10 * rows.size();
  std::copy(positions.begin(), positions.end(), words.begin() + static_cast<long>(position_column));
  std::vector<int32_t> output;
  CHECK_OK(RunStep(runner, words, &output));
  return {output.begin() + 2, output.begin() + 2 + static_cast<long>(rows.size())};
}

TEST(ARowCountsWhatItSamplesUntilItsSlotStartsOver) {
  const TinyModel model({});
  const auto runner = model.Start(2);
  const Row plain{.token = 0, .slot = 3};
  const Row ruled{.token = 0, .slot = 4, .ruled = 1};
  const int32_t likeliest = Sampled(*runner, {plain}, {0}, {})[0];
  // Each token may come once: the same logits give another one every step, and the plain row never changes.
  const Rules once{.slot = 4, .repetition = 1e6f};
  std::vector<int32_t> seen = Sampled(*runner, {plain, ruled}, {0, 0}, {once});
  CHECK(seen == std::vector<int32_t>({likeliest, likeliest}));
  std::vector<int32_t> outputs = {likeliest};
  for (int32_t step = 1; step < 5; ++step) {
    seen = Sampled(*runner, {ruled, plain}, {step, 0}, {});
    CHECK_EQ(seen[1], likeliest);
    CHECK(std::find(outputs.begin(), outputs.end(), seen[0]) == outputs.end());
    outputs.push_back(seen[0]);
  }
  // A request that starts over elsewhere with the outputs it had goes on the same way.
  Rules resumed = once;
  resumed.slot = 6;
  resumed.outputs = {outputs.begin(), outputs.end() - 1};
  const Row moved{.token = 0, .slot = 6, .ruled = 1};
  CHECK_EQ(Sampled(*runner, {moved}, {4}, {resumed})[0], outputs.back());
  // A slot that knows of another number of outputs is a mistake of the leader's.
  std::vector<int32_t> words = Pack({{{5}, 0, {1}}}, {ruled});
  CHECK_EQ(static_cast<int>(RunStep(*runner, words).code()), static_cast<int>(Code::kStepInput));
}

TEST(AnAllowListHoldsWhenNothingElseCan) {
  const TinyModel model({});
  const auto runner = model.Start(1);
  for (const float temperature : {0.0f, 2.0f}) {
    const Row ruled{.token = 0, .slot = 0, .temperature = temperature, .ruled = 1};
    // 9 is a stop token too early, 12 a bad word: what is left of the list decides, and then the list itself.
    Rules rules{.min_tokens = 2, .stops = {9}, .allowed = {9, 12, 40}, .words = {1, 12}};
    CHECK_EQ(Sampled(*runner, {ruled}, {0}, {rules})[0], 40);
    rules.allowed = {9, 12};
    const int32_t id = Sampled(*runner, {ruled}, {0}, {rules})[0];
    CHECK(id == 9 || id == 12);
    rules.outputs = {1, 1};
    CHECK_EQ(Sampled(*runner, {ruled}, {2}, {rules})[0], 9);
  }
}

TEST(ARuledRowReportsOnTheTokensItNames) {
  const TinyModel model({});
  const auto runner = model.Start(1);
  const Row plain{.token = 0, .slot = 1, .num_logprobs = 4};
  const Row ruled{.token = 0, .slot = 0, .num_logprobs = 2, .ruled = 1};
  std::vector<int32_t> words = Pack({{{5}, 0, {1}}}, {ruled, plain}, {Record({.logprob_ids = {40, 9}})});
  std::vector<int32_t> output;
  CHECK_OK(RunStep(*runner, words, &output));
  // Output: 2 words, then ids, logprobs and ranks of two rows, then 4 top ids of each row and their logprobs.
  const int32_t* top = output.data() + 2 + 3 * 2;
  CHECK((std::vector<int32_t>(top, top + 4) == std::vector<int32_t>{40, 9, -1, -1}));
  CHECK_EQ(top[4], output[2]);
  const std::vector<float> logits = Logits(*runner, words);
  const float gap = std::bit_cast<float>(top[8]) - std::bit_cast<float>(top[9]);
  CHECK(std::abs(gap - (logits[40] - logits[9])) < 1e-5f);
}

}  // namespace
}  // namespace skein::test
