#include "cpu/router.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "levels.h"
#include "tiny_model.h"

namespace skein::test {
namespace {

std::vector<float> Route(const RouteSpec& route, const std::vector<float>& logits, const float* bias) {
  std::vector<float> scratch(cpu::RouteScratchFloats(logits.size()), NAN), out(2 * route.top_k, NAN);
  cpu::RouteRow(route, logits.data(), bias, logits.size(), scratch.data(), out.data());
  return out;
}

/// The same by sorting whole lists, in double.
std::vector<double> PlainRoute(const RouteSpec& route, const std::vector<float>& logits, const float* bias) {
  const size_t n = logits.size(), size = n / route.num_groups;
  std::vector<double> scores(n), choice(n);
  double total = 0;
  for (const float x : logits) total += std::exp(double{x});
  for (size_t e = 0; e < n; ++e) {
    const double x = logits[e];
    scores[e] = route.score == RouteScore::kSigmoid ? 1 / (1 + std::exp(-x)) : std::exp(x) / total;
    choice[e] = scores[e] + (bias == nullptr ? 0 : double{bias[e]});
  }
  const auto sorted = [](const auto& of, size_t count) {
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return of[a] > of[b]; });
    return order;
  };
  std::vector<double> group_scores(route.num_groups);
  for (size_t g = 0; g < route.num_groups; ++g) {
    std::vector<double> group(choice.begin() + static_cast<long>(g * size),
                              choice.begin() + static_cast<long>((g + 1) * size));
    std::sort(group.rbegin(), group.rend());
    group_scores[g] = group[0] + (route.group_score == GroupScore::kBestTwo ? group[1] : 0);
  }
  const std::vector<size_t> groups = sorted(group_scores, route.num_groups);
  const std::set<size_t> kept(groups.begin(), groups.begin() + route.top_k_groups);
  std::vector<size_t> ids;
  for (const size_t e : sorted(choice, n)) {
    if (ids.size() < route.top_k && kept.count(e / size) != 0) ids.push_back(e);
  }
  std::sort(ids.begin(), ids.end());
  double sum = 0;
  for (const size_t e : ids) sum += scores[e];
  std::vector<double> out(ids.begin(), ids.end());
  for (const size_t e : ids) out.push_back(scores[e] / (route.renormalize ? sum : 1) * double{route.scale});
  return out;
}

TEST(RouterMatchesPlainSorting) {
  ForEachLevel([] {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (const RouteScore score : {RouteScore::kSoftmax, RouteScore::kSigmoid}) {
      for (const bool renormalize : {false, true}) {
        for (const auto& [experts, top_k, groups, kept] : {std::array<uint32_t, 4>{8, 2, 1, 1},
                                                           {60, 4, 1, 1},
                                                           {256, 8, 8, 4},
                                                           {13, 13, 1, 1},
                                                           {6, 2, 3, 1},
                                                           {1, 1, 1, 1}}) {
          const RouteSpec route{
              score, score == RouteScore::kSigmoid && experts > 1 ? GroupScore::kBestTwo : GroupScore::kBest,
              top_k, groups,
              kept,  renormalize,
              2.5f};
          for (int round = 0; round < 20; ++round) {
            std::vector<float> logits(experts), bias(experts);
            for (float& x : logits) x = 3 * normal(random);
            for (float& x : bias) x = 0.2f * normal(random);
            const float* used = score == RouteScore::kSigmoid ? bias.data() : nullptr;
            const std::vector<float> got = Route(route, logits, used);
            const std::vector<double> want = PlainRoute(route, logits, used);
            for (size_t i = 0; i < got.size(); ++i)
              CHECK(std::abs(got[i] - want[i]) <= (i < top_k ? 0 : 2e-6 * (1 + std::abs(want[i]))));
          }
        }
      }
    }
  });
}

TEST(RouterGivesTiesToTheLowerId) {
  const std::vector<float> got = Route({.top_k = 3}, std::vector<float>(10, 1.5f), nullptr);
  for (size_t k = 0; k < 3; ++k) CHECK_EQ(got[k], static_cast<float>(k));
}

TEST(RouterKeepsIdsInRangeForAnyLogits) {
  const float values[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0};
  std::mt19937 random(9);
  for (int round = 0; round < 500; ++round) {
    std::vector<float> logits(12);
    for (float& x : logits) x = values[random() % 6];
    const RouteScore score = round % 2 == 0 ? RouteScore::kSoftmax : RouteScore::kSigmoid;
    const std::vector<float> got = Route(
        {.score = score, .group_score = GroupScore::kBestTwo, .top_k = 6, .num_groups = 4, .top_k_groups = 2},
        logits, nullptr);
    for (size_t k = 0; k < 6; ++k) CHECK(got[k] >= 0 && got[k] < 12 && (k == 0 || got[k] > got[k - 1]));
  }
}

}  // namespace
}  // namespace skein::test
