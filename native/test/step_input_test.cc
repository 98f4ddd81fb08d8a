#include <bit>
#include <cstring>
#include <limits>
#include <random>

#include "tiny_model.h"

namespace skein::test {
namespace {

/// Slot 2: presence 1, frequency 0.5, repetition 1.25, 3 tokens at least; two prompt ids, one output, a stop
/// id, a bias of 4, three allowed ids, bad words {3} and {5, 6}, one id to report on.
std::vector<int32_t> Rules() {
  const auto bits = [](float v) { return std::bit_cast<int32_t>(v); };
  return {2, bits(1), bits(0.5f), bits(1.25f), 3, 2,       1, 1, 1, 3, 5, 1,  //
          1, 2,       9,          7,           3, bits(4), 3, 7, 9, 1, 3, 2, 5, 6, 8};
}

std::vector<int32_t> Valid() {
  return Pack({{{1, 2, 3}, 0, {4}}, {{-1 - 2, 5}, 15, {9, 7}}},
              {{.token = 2, .slot = 2}, {.token = 4, .slot = 3, .temperature = 0.5f, .num_logprobs = 3}},
              {Rules()});
}

Status Parse(const std::vector<int32_t>& words, const ProgramSpec& spec) {
  StepInput input;
  return ParseStepInput(words, spec, &input);
}

TEST(AGoodInputParses) {
  const TinyModel model({});
  CHECK_OK(Parse(Valid(), model.spec));
  CHECK_OK(Parse(Pack({}, {}), model.spec));
}

TEST(EachBadWordIsNamed) {
  const TinyModel model({});
  const auto expect = [&](size_t word, int32_t value, const char* name) {
    std::vector<int32_t> words = Valid();
    words[word] = value;
    const Status status = Parse(words, model.spec);
    CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kStepInput));
    if (status.message().find(name) == std::string::npos) CHECK_EQ(status.message(), std::string(name));
  };
  const int32_t nan = std::bit_cast<int32_t>(std::numeric_limits<float>::quiet_NaN());
  const size_t rows = 16 + 5 + 3 + 2 + 3 + 3;
  expect(0, 1, "magic");
  expect(1, 1, "version");
  expect(3, -1, "step");
  expect(4, 1 << 20, "numTokens");
  expect(5, -1, "numSeqs");
  expect(6, 1 << 30, "number of words");
  expect(7, 3, "number of words");
  expect(8, 99, "maxLogprobs");
  expect(11, 9, "numRules");
  expect(12, -1, "numRuleWords");
  expect(13, 1, "number of words");
  expect(13, -1, "numSources");
  expect(14, 1, "reserved");
  expect(16, 97, "tokenIds[0]");
  expect(17, -9, "tokenIds[1]");
  expect(21, 1, "queryStart[0]");
  expect(22, 6, "queryStart[1]");
  expect(24, -1, "numComputedTokens[0]");
  expect(25, 1199, "length of sequence 1");
  expect(25, 31, "blocks of sequence 1");
  expect(27, 9, "blockStart[1]");
  expect(29, 128, "blockIds[0]");
  expect(rows, 5, "rowToken[0]");
  expect(rows + 2, 97, "rowTarget[0]");
  expect(rows + 4, 8, "rowSlot[0]");
  expect(rows + 6, nan, "rowTemperature[0]");
  expect(rows + 7, std::bit_cast<int32_t>(-1.0f), "rowTemperature[1]");
  expect(rows + 8, -1, "rowTopK[0]");
  expect(rows + 10, 0, "rowTopP[0]");
  expect(rows + 12, std::bit_cast<int32_t>(1.5f), "rowMinP[0]");
  expect(rows + 22, 5, "rowNumLogprobs[0]");
  expect(rows + 24, 2, "rowRuled[0]");
  const size_t rules = rows + 28;
  expect(rules - 2, 1, "ruleStart[0]");
  expect(rules, 8, "slot is 8");
  expect(rules + 1, nan, "presencePenalty");
  expect(rules + 2, std::bit_cast<int32_t>(2e3f), "frequencyPenalty");
  expect(rules + 3, 0, "repetitionPenalty");
  expect(rules + 4, -1, "minTokens");
  expect(rules + 5, 3, "number of words");
  expect(rules + 9, -2, "a count");
  expect(rules + 12, 97, "promptIds is 97");
  expect(rules + 14, -1, "outputIds");
  expect(rules + 15, 97, "stopIds");
  expect(rules + 16, 97, "biasIds");
  expect(rules + 17, nan, "biasValues");
  expect(rules + 19, 3, "allowedIds is 3, needs rising ids");
  expect(rules + 21, 0, "length of a bad word");
  expect(rules + 23, 3, "length of a bad word is 3");
  expect(rules + 25, 97, "badWords");
  expect(rules + 26, -1, "logprobIds");
}

TEST(ARuledRowNeedsASlotToSampleInto) {
  const TinyModel model({});
  const auto parse = [&](Row row) { return Parse(Pack({{{1}, 0, {4}}}, {row}), model.spec); };
  CHECK_OK(parse({.token = 0, .slot = 2, .ruled = 1}));
  CHECK(!parse({.token = 0, .slot = -1, .ruled = 1}).ok());
  CHECK(!parse({.token = 0, .target = 5, .slot = 2, .ruled = 1}).ok());
}

TEST(MutatedInputsNeverCrash) {
  const TinyModel model({});
  const auto runner = model.Start(1);
  CHECK_OK(RunStep(*runner, Pack({{{1}, 0, {4}}}, {{.token = 0, .slot = 2}})));
  std::mt19937 random(8);
  int ran = 0;
  for (int round = 0; round < (kEmulated ? 1000 : 4000); ++round) {
    std::vector<int32_t> words = Valid();
    for (uint32_t n = random() % 3 + 1; n > 0; --n) {
      const size_t at = random() % words.size();
      switch (random() % 4) {
        case 0:
          words[at] = static_cast<int32_t>(random());
          break;
        case 1:
          words[at] += static_cast<int32_t>(random() % 5) - 2;
          break;
        case 2:
          words[at] = static_cast<int32_t>(random() % 200);
          break;
        default:
          words.resize(random() % words.size() + 1);
          break;
      }
    }
    std::vector<int32_t> output;
    const Status status = RunStep(*runner, std::move(words), &output);
    if (status.ok()) {
      ++ran;
      CHECK(output.size() >= 2);
    } else {
      CHECK(status.code() == Code::kStepInput || status.code() == Code::kInternal);
    }
  }
  CHECK(ran > 50);
}

TEST(SourcesOfSharedExpertsAreCounted) {
  ProgramSpec spec = TinyModel({}).spec;
  const auto with = [](std::vector<int32_t> tokens) {
    std::vector<int32_t> words = Valid();
    words[13] = static_cast<int32_t>(tokens.size());
    words.insert(words.end(), tokens.begin(), tokens.end());
    return words;
  };
  const auto expect = [&](const std::vector<int32_t>& words, const char* name) {
    const Status status = Parse(words, spec);
    CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kStepInput));
    if (status.message().find(name) == std::string::npos) CHECK_EQ(status.message(), std::string(name));
  };
  CHECK_OK(Parse(with({5, 5}), spec));
  spec.groups = {{"experts", 3, 1}};
  spec.ops.push_back({.kind = OpKind::kExperts});
  spec.ops.back().group = "experts";
  spec.ops.back().sources = {0, 1, 2};
  CHECK_OK(Parse(with({0, 5, 9}), spec));
  expect(Valid(), "numSources is 0, needs 3");
  expect(with({5, 4, 9}), "sourceTokens[1] is 4, needs numTokens 5");
  expect(with({-1, 5, 9}), "sourceTokens[0] is -1");
  expect(with({0, 5, 1 << 20}), "sourceTokens[2]");
}

}  // namespace
}  // namespace skein::test
