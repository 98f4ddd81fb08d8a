#include "cpu/expert_dispatch.h"

#include <algorithm>

namespace skein::cpu {
namespace {

/// Index of expert `id`, or experts.size().
size_t Find(std::span<const ExpertWeights> experts, uint32_t id) {
  const auto it = std::lower_bound(experts.begin(), experts.end(), id,
                                   [](const ExpertWeights& e, uint32_t wanted) { return e.id < wanted; });
  return it != experts.end() && it->id == id ? static_cast<size_t>(it - experts.begin()) : experts.size();
}

}  // namespace

void ExpertDispatch::Reserve(size_t max_tokens, size_t max_top_k, size_t max_experts, size_t round_rows,
                             size_t max_ranks) {
  round_rows_ = round_rows;
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

void ExpertDispatch::AssignShared(std::span<const uint32_t> owners, size_t rank, const Matrix& routes) {
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
  std::fill(rank_start_.begin(), rank_start_.end(), 0);
  for (size_t e = 0; e < num_experts_; ++e) rank_start_[owners[e] + 1] += expert_start_[e];
  for (size_t r = 1; r < rank_start_.size(); ++r) rank_start_[r] += rank_start_[r - 1];
  std::copy_n(rank_start_.begin(), rank_next_.size(), rank_next_.begin());
  groups_.clear();
  size_t own = 0;
  for (size_t e = 0; e < num_experts_; ++e) {
    const uint32_t pairs = expert_start_[e], first = rank_next_[owners[e]];
    expert_start_[e] = first;
    rank_next_[owners[e]] += pairs;
    if (owners[e] == rank) AddGroups(own++, first, first + pairs);
  }
  for (size_t t = 0; t < routes.rows; ++t) {
    for (size_t k = 0; k < top_k_; ++k)
      Place(t, k, expert_start_[expert_of(t, k)]++, routes.data[t * routes.stride + top_k_ + k]);
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
