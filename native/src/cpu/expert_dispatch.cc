#include "cpu/expert_dispatch.h"

#include <algorithm>

namespace skein::cpu {
namespace {

/// Rows that cost an expert about as much as the reading of its weights: as many stay together.
constexpr uint32_t kReadRows = 8;
/// More hardly even ranks out.
constexpr int kSharePasses = 2;

/// Index of expert `id`, or experts.size().
size_t Find(std::span<const ExpertWeights> experts, uint32_t id) {
  const auto it = std::lower_bound(experts.begin(), experts.end(), id,
                                   [](const ExpertWeights& e, uint32_t wanted) { return e.id < wanted; });
  return it != experts.end() && it->id == id ? static_cast<size_t>(it - experts.begin()) : experts.size();
}

}  // namespace

void ExpertDispatch::Reserve(size_t max_tokens, size_t max_top_k, size_t max_experts, size_t round_rows,
                             size_t max_ranks, size_t max_copies) {
  round_rows_ = round_rows;
  copies_.resize(max_copies);
  expert_copy_.resize(max_ranks == 0 ? 0 : max_experts);
  rank_start_.resize(max_ranks + 1);
  rank_next_.resize(max_ranks);
  expert_start_.resize(max_experts + 1);
  pair_token_.resize(max_tokens * max_top_k);
  pair_weight_.resize(max_tokens * max_top_k);
  token_pair_.resize(max_tokens * max_top_k);
  groups_.reserve(max_experts + round_rows / kLinearMaxRows + 1);
}

void ExpertDispatch::Assign(std::span<const ExpertWeights> experts, const Matrix& routes) {
  top_k_ = routes.width / 2;
  num_experts_ = experts.size();
  begin_ = end_ = 0;
  const auto expert_of = [&](size_t token, size_t k) {
    return Find(experts, static_cast<uint32_t>(routes.data[token * routes.stride + k]));
  };
  // Counted one place up, so that the running sum leaves each expert's first pair.
  std::fill_n(expert_start_.begin(), num_experts_ + 1, 0);
  for (size_t t = 0; t < routes.rows; ++t) {
    for (size_t k = 0; k < top_k_; ++k) {
      const size_t expert = expert_of(t, k);
      if (expert < num_experts_) ++expert_start_[expert + 1];
    }
  }
  for (size_t e = 0; e < num_experts_; ++e) expert_start_[e + 1] += expert_start_[e];
  num_pairs_ = expert_start_[num_experts_];
  for (size_t t = 0; t < routes.rows; ++t) {
    for (size_t k = 0; k < top_k_; ++k) {
      const size_t expert = expert_of(t, k);
      if (expert < num_experts_) {
        Place(t, k, expert_start_[expert]++, routes.data[t * routes.stride + top_k_ + k]);
      } else {
        token_pair_[t * top_k_ + k] = kElsewhere;
      }
    }
  }
  // Each start has moved to its end, which is the next one's start.
  for (size_t e = num_experts_; e > 0; --e) expert_start_[e] = expert_start_[e - 1];
  expert_start_[0] = 0;
}

void ExpertDispatch::ShareOut(std::span<const std::vector<uint32_t>> owners) {
  // What a rank has to do, in rows.
  std::vector<uint32_t>& load = rank_next_;
  std::fill(load.begin(), load.end(), 0);
  const auto cost = [](uint32_t rows) { return rows == 0 ? 0 : kReadRows + rows; };
  uint32_t first = 0;
  for (size_t e = 0; e < owners.size(); ++e) {
    const auto ranks = static_cast<uint32_t>(owners[e].size());
    expert_copy_[e] = first;
    for (uint32_t c = 0; c < ranks; ++c) {
      const uint32_t pairs = expert_start_[e] / ranks + (c < expert_start_[e] % ranks ? 1 : 0);
      copies_[first + c].pairs = pairs;
      load[owners[e][c]] += cost(pairs);
    }
    first += ranks;
  }
  // From equal shares, which are good for what the copies were made for, each expert's pairs go in turn to
  // where least is to do, given all others'. That soon changes nothing more.
  for (int pass = 0; pass < kSharePasses; ++pass) {
    for (size_t e = 0; e < owners.size(); ++e) {
      if (owners[e].size() == 1) continue;
      const std::span<Copy> copies(copies_.data() + expert_copy_[e], owners[e].size());
      for (size_t c = 0; c < copies.size(); ++c) {
        load[owners[e][c]] -= cost(copies[c].pairs);
        copies[c].pairs = 0;
      }
      for (uint32_t left = expert_start_[e]; left > 0;) {
        const uint32_t run = std::min(left, kReadRows);
        const auto with_run = [&](size_t c) {
          return load[owners[e][c]] + cost(copies[c].pairs + run) - cost(copies[c].pairs);
        };
        size_t least = 0;
        for (size_t c = 1; c < copies.size(); ++c)
          if (with_run(c) < with_run(least)) least = c;
        load[owners[e][least]] = with_run(least);
        copies[least].pairs += run;
        left -= run;
      }
    }
  }
}

void ExpertDispatch::AssignShared(std::span<const std::vector<uint32_t>> owners, size_t rank,
                                  const Matrix& routes) {
  top_k_ = routes.width / 2;
  num_experts_ = owners.size();
  num_pairs_ = routes.rows * top_k_;
  begin_ = 0;
  end_ = num_pairs_;
  const auto expert_of = [&](size_t token, size_t k) {
    return static_cast<size_t>(routes.data[token * routes.stride + k]);
  };
  std::fill_n(expert_start_.begin(), num_experts_, 0);
  for (size_t t = 0; t < routes.rows; ++t)
    for (size_t k = 0; k < top_k_; ++k) ++expert_start_[expert_of(t, k)];
  ShareOut(owners);
  const auto for_copies = [&](const auto& body) {
    for (size_t e = 0; e < num_experts_; ++e)
      for (size_t c = 0; c < owners[e].size(); ++c) body(owners[e][c], copies_[expert_copy_[e] + c]);
  };
  std::fill(rank_start_.begin(), rank_start_.end(), 0);
  for_copies([&](uint32_t r, const Copy& copy) { rank_start_[r + 1] += copy.pairs; });
  for (size_t r = 1; r < rank_start_.size(); ++r) rank_start_[r] += rank_start_[r - 1];
  std::copy_n(rank_start_.begin(), rank_next_.size(), rank_next_.begin());
  groups_.clear();
  size_t own = 0;
  for_copies([&](uint32_t r, Copy& copy) {
    copy.next = rank_next_[r];
    rank_next_[r] += copy.pairs;
    if (r == rank) AddGroups(own++, copy.next, rank_next_[r]);
  });
  for (size_t t = 0; t < routes.rows; ++t) {
    for (size_t k = 0; k < top_k_; ++k) {
      uint32_t& at = expert_copy_[expert_of(t, k)];
      while (copies_[at].pairs == 0) ++at;
      --copies_[at].pairs;
      Place(t, k, copies_[at].next++, routes.data[t * routes.stride + top_k_ + k]);
    }
  }
}

void ExpertDispatch::BeginRound(size_t round) {
  begin_ = round * round_rows_;
  end_ = std::min(num_pairs_, begin_ + round_rows_);
  groups_.clear();
  for (size_t e = 0; e < num_experts_; ++e) {
    const size_t first = std::max<size_t>(expert_start_[e], begin_);
    AddGroups(e, first, std::min<size_t>(expert_start_[e + 1], end_));
  }
}

}  // namespace skein::cpu
