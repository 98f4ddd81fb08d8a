#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "cpu/expert_dispatch.h"
#include "levels.h"
#include "op_backend.h"
#include "ranks.h"

namespace skein::test {
namespace {

/// By expert, the ranks that have it.
using Owners = std::vector<std::vector<uint32_t>>;

bool Has(const std::vector<uint32_t>& ranks, size_t rank) {
  return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

/// Random routes [tokens, 2 * top_k]: distinct ids ascending, then weights.
TestMatrix RandomRoutes(size_t tokens, size_t top_k, uint32_t experts, std::mt19937& random) {
  TestMatrix routes(tokens, 2 * top_k, random);
  std::vector<uint32_t> ids(experts);
  for (size_t t = 0; t < tokens; ++t) {
    for (uint32_t e = 0; e < experts; ++e) ids[e] = e;
    std::shuffle(ids.begin(), ids.end(), random);
    std::sort(ids.begin(), ids.begin() + static_cast<long>(top_k));
    for (size_t k = 0; k < top_k; ++k) routes.row(t)[k] = static_cast<float>(ids[k]);
  }
  return routes;
}

TEST(DispatchMeetsEveryPairOnceInOrder) {
  std::mt19937 random(2);
  for (const auto& [tokens, top_k, experts, round_rows] :
       {std::array<uint32_t, 4>{1, 2, 8, 400}, {37, 3, 9, 7}, {300, 2, 4, 700}, {900, 1, 2, 1000}}) {
    TestMatrix routes = RandomRoutes(tokens, top_k, experts, random);
    std::vector<ExpertWeights> owned;
    for (uint32_t e = 0; e < experts; e += 2) owned.push_back({.id = e});
    cpu::ExpertDispatch dispatch;
    dispatch.Reserve(tokens, top_k, owned.size(), round_rows, 0, 0);
    dispatch.Assign(owned, routes.view());
    std::vector<std::vector<float>> seen(tokens);
    for (size_t round = 0; round < dispatch.num_rounds(); ++round) {
      dispatch.BeginRound(round);
      CHECK(dispatch.num_rows() >= 1 && dispatch.num_rows() <= round_rows);
      std::vector<uint32_t> expert_of(dispatch.num_rows());
      size_t next = 0;
      for (const cpu::ExpertGroup& g : dispatch.groups()) {
        CHECK(g.first_row == next && g.rows >= 1 && g.rows <= 288);
        for (size_t r = 0; r < g.rows; ++r) expert_of[next++] = owned[g.expert].id;
      }
      CHECK_EQ(next, dispatch.num_rows());
      for (uint32_t t = 0; t < tokens; ++t) {
        dispatch.ForToken(t, [&](size_t row, float weight) {
          CHECK_EQ(dispatch.token(row), t);
          seen[t].push_back(static_cast<float>(expert_of[row]));
          seen[t].push_back(weight);
        });
      }
    }
    for (uint32_t t = 0; t < tokens; ++t) {
      std::vector<float> want;
      for (size_t k = 0; k < top_k; ++k) {
        if (static_cast<uint32_t>(routes.row(t)[k]) % 2 != 0) continue;
        want.push_back(routes.row(t)[k]);
        want.push_back(routes.row(t)[top_k + k]);
      }
      CHECK(seen[t] == want);
    }
  }
}

/// Pairs that each of `ranks` computes, by expert; every rank must come to the same.
std::vector<std::vector<size_t>> Shares(const Owners& owners, uint32_t ranks, TestMatrix& routes,
                                        size_t top_k) {
  const size_t tokens = routes.view().rows;
  size_t copies = 0;
  for (const std::vector<uint32_t>& own : owners) copies += own.size();
  std::vector<std::vector<size_t>> shares(ranks, std::vector<size_t>(owners.size()));
  std::vector<std::vector<uint32_t>> rank_of(tokens);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    cpu::ExpertDispatch dispatch;
    dispatch.Reserve(tokens, top_k, owners.size(), tokens * top_k, ranks, copies);
    dispatch.AssignShared(owners, rank, routes.view());
    std::vector<size_t> own;
    for (size_t e = 0; e < owners.size(); ++e)
      if (Has(owners[e], rank)) own.push_back(e);
    for (const cpu::ExpertGroup& g : dispatch.groups()) shares[rank][own[g.expert]] += g.rows;
    for (uint32_t t = 0; t < tokens; ++t) {
      size_t k = 0;
      std::vector<uint32_t> of_token;
      dispatch.ForToken(t, [&](size_t row, float weight) {
        CHECK_EQ(dispatch.token(row), t);
        CHECK(weight == routes.row(t)[top_k + k]);
        uint32_t r = 0;
        while (row >= dispatch.rank_first(r + 1)) ++r;
        CHECK(Has(owners[static_cast<size_t>(routes.row(t)[k++])], r) && dispatch.IsComputedBy(r, t));
        of_token.push_back(r);
      });
      CHECK_EQ(k, top_k);
      for (uint32_t r = 0; r < ranks; ++r) CHECK_EQ(dispatch.IsComputedBy(r, t), Has(of_token, r));
      if (rank == 0) rank_of[t] = of_token;
      CHECK(rank_of[t] == of_token);
    }
  }
  return shares;
}

TEST(CopiesOfAnExpertShareItsTokens) {
  std::mt19937 random(4);
  // All tokens have expert 0, and each one other.
  const uint32_t tokens = 600;
  TestMatrix routes = RandomRoutes(tokens, 2, 4, random);
  for (uint32_t t = 0; t < tokens; ++t) {
    routes.row(t)[0] = 0;
    routes.row(t)[1] = static_cast<float>(1 + t % 3);
  }
  const auto busiest = [&](const Owners& owners, uint32_t ranks) {
    size_t most = 0, all = 0;
    for (const std::vector<size_t>& share : Shares(owners, ranks, routes, 2)) {
      size_t sum = 0;
      for (const size_t pairs : share) sum += pairs;
      most = std::max(most, sum);
      all += sum;
    }
    CHECK_EQ(all, size_t{2} * tokens);
    return most;
  };
  CHECK_EQ(busiest({{0}, {1}, {2}, {3}}, 4), 600u);
  // 1200 pairs over 4 ranks, each with the reading of its weights.
  CHECK(busiest({{0, 1, 2, 3}, {1}, {2}, {3}}, 4) <= 316);
  CHECK(busiest({{0, 2}, {0, 1}, {1}, {2}}, 3) <= 416);
  // Of 16 experts with very different loads, whose copies overlap.
  const size_t top_k = 3, experts = 16;
  TestMatrix skewed = RandomRoutes(tokens, top_k, 4, random);
  size_t total = 0;
  for (uint32_t t = 0; t < tokens; ++t) {
    const uint32_t cold = 5 + t % 11;
    skewed.row(t)[0] = static_cast<float>(t % 3 == 0 ? 1 : 0);
    skewed.row(t)[1] = static_cast<float>(2 + t % 5 / 2);
    skewed.row(t)[2] = static_cast<float>(cold);
    total += top_k;
  }
  Owners owners;
  for (uint32_t e = 0; e < experts; ++e) owners.push_back({e % 4});
  owners[0] = {0, 1, 2};
  owners[2] = {1, 3};
  owners[3] = {2, 3};
  const auto loads = Shares(owners, 4, skewed, top_k);
  for (const std::vector<size_t>& share : loads) {
    size_t sum = 0;
    for (const size_t pairs : share) sum += pairs;
    CHECK(sum >= total / 4 - 24 && sum <= total / 4 + 24);
  }
  // A few rows stay together: weights are read once.
  TestMatrix few = RandomRoutes(4, 1, 1, random);
  const auto shares = Shares({{0, 1}}, 2, few, 1);
  CHECK_EQ(shares[0][0], 4u);
  CHECK_EQ(shares[1][0], 0u);
}

struct Mixture {
  size_t hidden, inter, top_k;
  std::vector<RandomWeight> gate, up, down;
  OpBackend room;
  Backend* backend;

  /// With `owners`, expert i is on the ranks owners[i] of a group, of which this is `rank`.
  Mixture(uint32_t tokens, uint32_t experts, uint32_t k, uint32_t h, uint32_t n, Dtype dtype,
          const Owners& owners = {}, uint32_t rank = 0, const std::vector<uint32_t>& sources = {})
      : hidden(h), inter(n), top_k(k), room(tokens) {
    std::mt19937 random(experts);
    const int64_t x = room.Value(h), logits = room.Value(experts);
    Op route{.kind = OpKind::kRoute, .inputs = {logits, -1, -1}};
    route.route.top_k = k;
    Op op{.kind = OpKind::kExperts, .inputs = {x, room.Add(route), -1}};
    for (uint32_t e = 0; e < experts; ++e) {
      gate.emplace_back(n, h, dtype, random, 1 / std::sqrt(static_cast<float>(h)));
      up.emplace_back(n, h, dtype, random, 1 / std::sqrt(static_cast<float>(h)));
      down.emplace_back(h, n, dtype, random, 1 / std::sqrt(static_cast<float>(n)));
      if (!owners.empty() && !Has(owners[e], rank)) continue;
      op.experts.push_back(
          {e, room.Weight({n, h}, dtype), room.Weight({n, h}, dtype), room.Weight({h, n}, dtype)});
    }
    if (!owners.empty()) {
      uint32_t size = static_cast<uint32_t>(sources.size());
      if (sources.empty())
        for (const std::vector<uint32_t>& ranks : owners) size = std::max(size, ranks.back() + 1);
      op.group = "tp";
      op.owners = owners;
      op.sources = sources.empty() ? std::vector<uint32_t>(size) : sources;
      room.spec().groups = {{"tp", size, rank}};
    }
    room.Add(op);
    backend = &room.Start();
  }
  std::vector<ExpertWeights> Views(uint32_t first, uint32_t step) const {
    std::vector<ExpertWeights> views;
    for (uint32_t e = first; e < gate.size(); e += step)
      views.push_back({e, gate[e].panel_view(), up[e].panel_view(), down[e].panel_view()});
    return views;
  }
  std::vector<double> Plain(const float* x, const float* route) const {
    std::vector<double> out(hidden, 0.0);
    for (size_t k = 0; k < top_k; ++k) {
      const auto e = static_cast<size_t>(route[k]);
      std::vector<double> act(inter);
      for (size_t i = 0; i < inter; ++i) {
        double g = 0, u = 0;
        for (size_t j = 0; j < hidden; ++j) {
          g += double{x[j]} * gate[e].row(i)[j];
          u += double{x[j]} * up[e].row(i)[j];
        }
        act[i] = g / (1 + std::exp(-g)) * u;
      }
      for (size_t j = 0; j < hidden; ++j) {
        double sum = 0;
        for (size_t i = 0; i < inter; ++i) sum += act[i] * down[e].row(j)[i];
        out[j] += double{route[top_k + k]} * sum;
      }
    }
    return out;
  }
};

TEST(ExpertsMatchPlainSums) {
  ForEachLevel([] {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
      for (const auto& [tokens, experts, top_k, hidden, inter] : {std::array<uint32_t, 5>{1, 8, 2, 40, 24},
                                                                  {33, 5, 3, 68, 50},
                                                                  {90, 3, 1, 20, 132},
                                                                  {7, 16, 16, 33, 17}}) {
        Mixture m(tokens, experts, top_k, hidden, inter, dtype);
        std::mt19937 random(tokens);
        TestMatrix x(tokens, hidden, random), out(tokens, hidden);
        TestMatrix routes = RandomRoutes(tokens, top_k, experts, random);
        CHECK_OK(m.backend->Experts({m.Views(0, 1)}, x.view(), routes.view(), out.view()));
        for (size_t t = 0; t < tokens; t += 8) {
          const std::vector<double> want = m.Plain(x.row(t), routes.row(t));
          for (size_t j = 0; j < hidden; ++j) CHECK(std::abs(out.row(t)[j] - want[j]) < 4e-5);
        }
      }
    }
  });
}

TEST(ExpertRowIsTheSameInAnyBatch) {
  ForEachLevel([] {
    // Wide enough that the whole batch takes two rounds, and one expert's rows straddle them.
    const uint32_t tokens = 520, hidden = 8200;
    Mixture m(tokens, 3, 2, hidden, 5, Dtype::kBF16);
    std::mt19937 random(8);
    TestMatrix x(tokens, hidden, random), whole(tokens, hidden), part(64, hidden);
    TestMatrix routes = RandomRoutes(tokens, 2, 3, random);
    CHECK_OK(m.backend->Experts({m.Views(0, 1)}, x.view(), routes.view(), whole.view()));
    for (const auto& [begin, end] : {std::pair<size_t, size_t>{0, 1}, {3, 20}, {300, 364}, {519, 520}}) {
      CHECK_OK(m.backend->Experts({m.Views(0, 1)}, x.view(begin, end), routes.view(begin, end),
                                  part.view(0, end - begin)));
      for (size_t t = begin; t < end; ++t) CHECK(SameRow(whole, t, part, t - begin));
    }
  });
}

TEST(RanksShareExperts) {
  const uint32_t tokens = 50, hidden = 48;
  Mixture m(tokens, 7, 3, hidden, 20, Dtype::kF32);
  std::mt19937 random(8);
  TestMatrix x(tokens, hidden, random), even(tokens, hidden), odd(tokens, hidden);
  TestMatrix routes = RandomRoutes(tokens, 3, 7, random);
  CHECK_OK(m.backend->Experts({m.Views(0, 2)}, x.view(), routes.view(), even.view()));
  CHECK_OK(m.backend->Experts({m.Views(1, 2)}, x.view(), routes.view(), odd.view()));
  for (size_t t = 0; t < tokens; ++t) {
    const std::vector<double> want = m.Plain(x.row(t), routes.row(t));
    for (size_t j = 0; j < hidden; ++j) CHECK(std::abs(even.row(t)[j] + odd.row(t)[j] - want[j]) < 4e-5);
  }
}

/// Over the ranks: what they have computed, by expert.
std::vector<uint64_t> Sums(const std::vector<ExpertCounts>& counts, const Owners& owners) {
  std::vector<uint64_t> sums(owners.size());
  for (uint32_t r = 0; r < counts.size(); ++r) {
    size_t own = 0;
    for (size_t e = 0; e < owners.size(); ++e)
      if (Has(owners[e], r)) sums[e] += counts[r][own++];
    CHECK_EQ(own, counts[r].size());
  }
  return sums;
}

std::vector<ExpertCounts> CountsOf(const Owners& owners, uint32_t ranks) {
  std::vector<ExpertCounts> counts;
  for (uint32_t r = 0; r < ranks; ++r)
    counts.emplace_back(static_cast<size_t>(
        std::count_if(owners.begin(), owners.end(), [&](const auto& o) { return Has(o, r); })));
  return counts;
}

TEST(RanksThatShareExpertsAddTheSameRows) {
  // Wide enough that the tokens take two rounds, and the rows of each several messages.
  const uint32_t tokens = 520, hidden = 8200;
  Mixture whole(tokens, 3, 2, hidden, 5, Dtype::kBF16);
  std::mt19937 random(8);
  TestMatrix x(tokens, hidden, random), want(tokens, hidden), routes = RandomRoutes(tokens, 2, 3, random);
  std::vector<ExpertCounts> all = CountsOf({{0}, {0}, {0}}, 1);
  CHECK_OK(whole.backend->Experts({.experts = whole.Views(0, 1), .counts = &all[0]}, x.view(), routes.view(),
                                  want.view()));
  CHECK_EQ(all[0][0] + all[0][1] + all[0][2], uint64_t{2} * tokens);
  for (const Owners& owners : {Owners{{1}, {0}, {1}}, Owners{{0, 1}, {0}, {0, 1}}}) {
    std::vector<std::unique_ptr<Mixture>> mixtures;
    std::vector<TestMatrix> outs(2, TestMatrix(tokens, hidden));
    std::vector<ExpertCounts> counts = CountsOf(owners, 2);
    for (uint32_t r = 0; r < 2; ++r)
      mixtures.push_back(std::make_unique<Mixture>(tokens, 3, 2, hidden, 5, Dtype::kBF16, owners, r));
    Ranks ranks(2);
    const auto results = ranks.Run([&](size_t r, Communicator& communicator) {
      std::vector<ExpertWeights> own = whole.Views(0, 1);
      std::erase_if(own, [&](const ExpertWeights& e) { return !Has(owners[e.id], r); });
      return mixtures[r]->backend->Experts({own, &communicator, owners, {}, {}, &counts[r]}, x.view(),
                                           routes.view(), outs[r].view());
    });
    for (const Status& status : results) CHECK_OK(status);
    for (const TestMatrix& out : outs)
      for (size_t t = 0; t < tokens; ++t) CHECK(SameRow(out, t, want, t));
    CHECK((Sums(counts, owners) == std::vector<uint64_t>{all[0][0], all[0][1], all[0][2]}));
  }
}

TEST(SourcesShareExpertsAndAddTheSameRows) {
  // Two sources on two ranks each, and four on one; one has no token, others more than a round takes. A rank
  // has no expert.
  const uint32_t experts = 5, top_k = 2, hidden = 8200;
  for (const auto& [sources, counts, owners] :
       {std::tuple<std::vector<uint32_t>, std::vector<int32_t>, Owners>{
            {0, 0, 1, 1}, {300, 7}, {{3}, {0}, {1}, {3}, {0}}},
        {{0, 1, 2, 3}, {0, 130, 1, 40}, {{0}, {1}, {2}, {3}, {0}}},
        {{0, 0, 1, 1}, {130, 90}, {{0, 3}, {0}, {0, 1, 2, 3}, {3}, {1, 2}}},
        {{0, 1, 2, 3}, {0, 130, 1, 40}, {{0, 1, 2, 3}, {1}, {1, 2}, {0, 3}, {0, 1}}}}) {
    const auto size = static_cast<uint32_t>(sources.size());
    const auto most = static_cast<uint32_t>(*std::max_element(counts.begin(), counts.end()));
    Mixture whole(most, experts, top_k, hidden, 5, Dtype::kBF16);
    std::mt19937 random(9);
    std::vector<TestMatrix> xs, routes, wants;
    for (const int32_t count : counts) {
      const auto rows = static_cast<size_t>(count);
      xs.emplace_back(rows, hidden, random);
      routes.push_back(RandomRoutes(rows, top_k, experts, random));
      wants.emplace_back(rows, hidden);
      CHECK_OK(whole.backend->Experts({whole.Views(0, 1)}, xs.back().view(), routes.back().view(),
                                      wants.back().view()));
    }
    std::vector<std::unique_ptr<Mixture>> mixtures;
    std::vector<TestMatrix> outs;
    for (uint32_t r = 0; r < size; ++r) {
      mixtures.push_back(
          std::make_unique<Mixture>(most, experts, top_k, hidden, 5, Dtype::kBF16, owners, r, sources));
      outs.emplace_back(static_cast<size_t>(counts[sources[r]]), hidden);
    }
    Ranks ranks(size);
    const auto results = ranks.Run([&](size_t r, Communicator& communicator) {
      std::vector<ExpertWeights> own = whole.Views(0, 1);
      std::erase_if(own, [&](const ExpertWeights& e) { return !Has(owners[e.id], r); });
      const uint32_t source = sources[r];
      return mixtures[r]->backend->Experts({own, &communicator, owners, sources, counts}, xs[source].view(),
                                           routes[source].view(), outs[r].view());
    });
    for (const Status& status : results) CHECK_OK(status);
    for (uint32_t r = 0; r < size; ++r) {
      for (size_t t = 0; t < outs[r].view().rows; ++t) CHECK(SameRow(outs[r], t, wants[sources[r]], t));
    }
  }
}

struct RefusedSpec {
  ProgramSpec spec;
  Op& route() { return spec.ops[2]; }
  Op& experts() { return spec.ops[3]; }
};

void ExpectRefused(const std::function<void(RefusedSpec&)>& change, const std::string& words) {
  // 0 x [tokens, 12], 1 logits [tokens, 6], 2 route, 3 experts of inner size 8.
  Mixture m(4, 6, 2, 12, 8, Dtype::kF32);
  RefusedSpec refused{m.room.spec()};
  change(refused);
  Program program;
  const Status status = Program::Create(refused.spec, &program);
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kInvalidArgument));
  if (status.message().find(words) == std::string::npos) CHECK_EQ(status.message(), words);
}

TEST(WrongMixturesAreRefusedByOp) {
  ExpectRefused([](RefusedSpec& s) { s.route().route.top_k = 7; },
                "op 2 (route): cannot pick 7 of 6 experts");
  ExpectRefused([](RefusedSpec& s) { s.route().route.num_groups = 4; }, "1 of 4 groups");
  ExpectRefused([](RefusedSpec& s) { s.route().route.top_k_groups = 2; }, "2 of 1 groups");
  ExpectRefused([](RefusedSpec& s) { s.route().route.scale = INFINITY; }, "scale is not finite");
  ExpectRefused([](RefusedSpec& s) { s.experts().inputs[1] = 1; },
                "op 3 (experts): routes 1 is no route's output");
  ExpectRefused([](RefusedSpec& s) { s.experts().experts.clear(); }, "has no experts");
  ExpectRefused([](RefusedSpec& s) { s.experts().experts[1].id = 0; }, "expert 0 is out of order");
  ExpectRefused([](RefusedSpec& s) { s.experts().experts[5].id = 6; },
                "expert 6 is out of order or none of 6");
  ExpectRefused([](RefusedSpec& s) { s.experts().experts[2].down = s.experts().experts[2].up; },
                "expert 2 has gate [8, 12], up [8, 12] and down [8, 12]");
  const auto share = [](RefusedSpec& s, const std::vector<uint32_t>& owners) {
    s.spec.groups = {{"tp", 2, 1}};
    s.experts().group = "tp";
    for (const uint32_t owner : owners) s.experts().owners.push_back({owner});
    s.experts().sources = {0, 0};
  };
  ExpectRefused([&](RefusedSpec& s) { share(s, {1, 1, 1, 1, 1}); }, "owners has 5 entries for 6 experts");
  ExpectRefused([&](RefusedSpec& s) { share(s, {1, 1, 1, 1, 1, 2}); },
                "owners[5] has 2, group 'tp' has 2 ranks");
  for (const std::vector<uint32_t>& ranks : {std::vector<uint32_t>{}, {1, 0}, {1, 1}}) {
    ExpectRefused([&](RefusedSpec& s) { share(s, {1, 1, 1, 1, 1, 1}), s.experts().owners[5] = ranks; },
                  "owners[5] is not one rank or more, ascending");
  }
  ExpectRefused([&](RefusedSpec& s) { share(s, {1, 1, 1, 1, 1, 0}); },
                "expert 5 is listed, and not this rank's");
  ExpectRefused(
      [&](RefusedSpec& s) {
        share(s, {1, 1, 1, 1, 1, 1});
        s.experts().experts.erase(s.experts().experts.begin() + 2);
      },
      "expert 2 is this rank's, and is not listed in its place");
  ExpectRefused([&](RefusedSpec& s) { share(s, {1, 1, 1, 1, 1, 1}), s.experts().sources = {1, 0}; },
                "sources are not equal runs of the 2 ranks of group 'tp'");
  ExpectRefused([&](RefusedSpec& s) { share(s, {1, 1, 1, 1, 1, 1}), s.spec.groups.clear(); },
                "op 3 (experts): group 'tp' is none");
}

}  // namespace
}  // namespace skein::test
