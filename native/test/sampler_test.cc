#include "cpu/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "check.h"
#include "cpu/logit_stats.h"
#include "cpu/philox.h"
#include "cpu/row_draw.h"
#include "levels.h"
#include "tiny_model.h"

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

TEST(Philox2MatchesItsPublishedVectors) {
  CHECK((cpu::Philox2({0, 0}, 0) == std::array<uint32_t, 2>{0xff1dae59, 0x6cd10df2}));
  const uint32_t f = 0xffffffff;
  CHECK((cpu::Philox2({f, f}, f) == std::array<uint32_t, 2>{0x2c3f628b, 0xab4fd7ad}));
  CHECK((cpu::Philox2({0x243f6a88, 0x85a308d3}, 0x13198a2e) ==
         std::array<uint32_t, 2>{0xdd7ce038, 0xf62a4c12}));
}

TEST(TheWinnerIsTheOneOfPlainArithmetic) {
  ForEachLevel([] {
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0, 2);
    size_t ties = 0;
    for (uint32_t round = 0; round < 300; ++round) {
      std::vector<float> logits(1 + random() % 700);
      for (float& x : logits) x = normal(random);
      const auto first = static_cast<int32_t>(random() % 100000);
      const cpu::NoiseKey key = cpu::NoiseKeyOf(1, 2, 0, round);
      std::vector<double> scores(logits.size());
      for (size_t i = 0; i < logits.size(); ++i) {
        const uint32_t id = static_cast<uint32_t>(first) + static_cast<uint32_t>(i);
        const double u = (cpu::Philox2({id, key.counter}, key.key)[0] + 0.5) * 0x1p-32;
        scores[i] = double{logits[i]} * 0.7f - std::log(-std::log1p(-std::min(u, 1 - 0x1p-24)));
      }
      cpu::Draw best;
      cpu::DrawBest(logits.data(), logits.size(), first, 0.7f, key, &best);
      const double top = *std::max_element(scores.begin(), scores.end());
      const double got = scores[static_cast<size_t>(best.id - first)];
      CHECK(std::abs(double{best.score} - got) < 1e-5 * std::max(1.0, std::abs(got)));
      CHECK(top - got < 2e-5);
      ties += top != got;
    }
    CHECK(ties < 3);
  });
}

TEST(PiecesChooseWhatTheWholeRowDoes) {
  ForEachLevel([] {
    std::mt19937 random(6);
    std::normal_distribution<float> normal(0, 2);
    for (uint32_t round = 0; round < 200; ++round) {
      std::vector<float> logits(2000);
      for (float& x : logits) x = round % 2 == 0 ? std::round(normal(random)) : normal(random);
      const uint32_t top_ks[] = {0, 1, 5, 64};
      const cpu::SampleParams params{.temperature = round % 5 == 0 ? 0.0f : 0.9f,
                                     .top_k = top_ks[round % 4],
                                     .seed_low = round,
                                     .position = round};
      CHECK(cpu::RowDraw::Suffices(params));
      std::vector<size_t> cuts = {0, logits.size()};
      for (int i = 0; i < 9; ++i) cuts.push_back(random() % logits.size());
      std::sort(cuts.begin(), cuts.end());
      std::vector<size_t> order(cuts.size() - 1);
      for (size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::shuffle(order.begin(), order.end(), random);
      std::array<cpu::RowDraw, 3> threads;
      for (cpu::RowDraw& draw : threads) draw.Begin(params);
      for (const size_t i : order) {
        if (cuts[i] == cuts[i + 1]) continue;
        threads[random() % 3].Add(&logits[cuts[i]], cuts[i + 1] - cuts[i], static_cast<int32_t>(cuts[i]));
      }
      threads[0].Merge(threads[1]);
      threads[0].Merge(threads[2]);
      CHECK(threads[0].finite());
      const cpu::ArgMax best = cpu::FindArgMax(logits.data(), logits.size());
      CHECK_EQ(threads[0].Token(), params.temperature == 0 ? best.id : Draw(logits, params));
    }
    cpu::RowDraw draw;
    draw.Begin({});
    const std::vector<float> bad = {1, NAN, 2};
    draw.Add(bad.data(), 3, 0);
    CHECK(!draw.finite());
  });
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
