#include "cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "check.h"
#include "cpu/logit_stats.h"
#include "cpu/philox.h"

namespace skein::test {
namespace {

int32_t Draw(const std::vector<float>& logits, const cpu::SampleParams& params) {
  std::vector<float> weights(logits.size());
  std::vector<int32_t> ids(logits.size());
  const float high = *std::max_element(logits.begin(), logits.end());
  return cpu::SampleToken(logits.data(), logits.size(), high, params, {weights.data(), ids.data()});
}

std::set<int32_t> Support(const std::vector<float>& logits, cpu::SampleParams params) {
  std::set<int32_t> seen;
  for (uint32_t i = 0; i < 4000; ++i) {
    params.position = i;
    seen.insert(Draw(logits, params));
  }
  return seen;
}

TEST(PhiloxMatchesItsPublishedVectors) {
  CHECK((cpu::Philox({0, 0, 0, 0}, {0, 0}) ==
         std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  CHECK((cpu::Philox({f, f, f, f}, {f, f}) ==
         std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits = {0, 1, 2, -1, 0.5f};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    double total = 0;
    for (const float x : logits) total += std::exp(x / temperature);
    std::vector<int> counts(logits.size());
    constexpr int kDraws = 40000;
    for (uint32_t i = 0; i < kDraws; ++i) {
      ++counts[static_cast<size_t>(Draw(logits, {.temperature = temperature, .seed_low = 9, .position = i}))];
    }
    double chi = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const double want = kDraws * std::exp(logits[i] / temperature) / total;
      chi += (counts[i] - want) * (counts[i] - want) / want;
    }
    CHECK(chi < 20);  // 4 degrees of freedom: p < 0.0005
  }
}

TEST(TruncationKeepsWhatItShould) {
  // Probabilities 0.5, 0.25, 0.15, 0.1 in a shuffled order.
  std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.15f), std::log(0.25f)};
  using Ids = std::set<int32_t>;
  CHECK((Support(logits, {.temperature = 1, .top_k = 2}) == Ids{1, 3}));
  CHECK((Support(logits, {.temperature = 1, .top_p = 0.49f}) == Ids{1}));
  CHECK((Support(logits, {.temperature = 1, .top_p = 0.76f}) == Ids{1, 2, 3}));
  CHECK((Support(logits, {.temperature = 1, .min_p = 0.25f}) == Ids{1, 2, 3}));
  CHECK((Support(logits, {.temperature = 1, .top_p = 1e-9f}) == Ids{1}));
  // top_p counts what top_k left: 0.5 / 0.75 already reaches 0.6.
  CHECK((Support(logits, {.temperature = 1, .top_k = 2, .top_p = 0.6f}) == Ids{1}));
  // min_p sees the tempered distribution.
  CHECK((Support(logits, {.temperature = 0.25f, .min_p = 0.3f}) == Ids{1}));
  const std::vector<float> equal(50, 1.0f);
  CHECK((Support(equal, {.temperature = 1, .top_k = 3}) == Ids{0, 1, 2}));
  CHECK_EQ(Support(equal, {.temperature = 1, .top_p = 0.5f}).size(), 25u);
}

TEST(TruncationAgreesWithSorting) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 3);
  for (int round = 0; round < 30; ++round) {
    std::vector<float> logits(3000);
    for (float& x : logits) x = round % 3 == 0 ? std::round(normal(random)) : normal(random);
    const cpu::SampleParams params{.temperature = 1.3f,
                                   .top_k = 200,
                                   .top_p = 0.8f,
                                   .seed_low = 1,
                                   .position = static_cast<uint32_t>(round)};
    std::vector<int32_t> order(logits.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    const auto at = [&](int32_t i) { return logits[static_cast<size_t>(i)]; };
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return at(a) > at(b); });
    double total = 0, sum = 0;
    for (size_t i = 0; i < 200; ++i) total += std::exp((at(order[i]) - at(order[0])) / 1.3f);
    size_t kept = 0;
    while (kept < 200 && sum < 0.8 * total) sum += std::exp((at(order[kept++]) - at(order[0])) / 1.3f);
    const int32_t id = Draw(logits, params);
    CHECK(std::find(order.begin(), order.begin() + static_cast<long>(kept), id) !=
          order.begin() + static_cast<long>(kept));
    CHECK_EQ(id, Draw(logits, params));
    std::vector<int32_t> top(17);
    cpu::TopIds(logits.data(), logits.size(), top.size(), top.data());
    CHECK(std::equal(top.begin(), top.end(), order.begin()));
  }
}

TEST(ExtremeParametersStayInRange) {
  std::vector<float> logits(1000, -50.0f);
  logits[77] = 1e30f;
  for (const float temperature : {1e-30f, 1.0f, 1e6f}) {
    CHECK_EQ(Draw(logits, {.temperature = temperature, .top_k = 1000000, .top_p = 0.999f, .min_p = 1.0f}),
             77);
  }
}

}  // namespace
}  // namespace skein::test

int main(int argc, char** argv) { return skein::test::RunAll(argc, argv); }
