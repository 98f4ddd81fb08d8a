#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/backend.h"
#include "cpu/linear.h"

namespace skein::cpu {

/// Rows of one expert that are computed together.
struct ExpertGroup {
  size_t expert;     ///< index into the experts of the op
  size_t first_row;  ///< within the round's buffers
  size_t rows;
};

/// Sorts (token, expert) pairs by expert, then token, and cuts them into rounds whose rows fit the buffers. A
/// row of a round is one pair. Where ranks share the experts, the pairs that each rank computes are
/// neighbours, in the order of ranks, and one round has them all. Sized once; no call after Reserve
/// allocates.
class ExpertDispatch {
 public:
  /// Room for `max_tokens` tokens of up to `max_top_k` experts among `max_experts`, in rounds of
  /// `round_rows`, shared by up to `max_ranks` that have `max_copies` experts together.
  void Reserve(size_t max_tokens, size_t max_top_k, size_t max_experts, size_t round_rows, size_t max_ranks,
               size_t max_copies);

  /// routes: f32 [tokens, 2 * top_k] as Backend::Route writes. Pairs with experts that are not in `experts`
  /// (ids ascending) are left out: another rank computes them.
  void Assign(std::span<const ExpertWeights> experts, const Matrix& routes);
  /// The only round, of `routes` of at most round_rows() pairs: experts are those of all ranks, owners[id]
  /// the ranks that have one; groups() are those of `rank`. Every rank gets the same from the same routes.
  void AssignShared(std::span<const std::vector<uint32_t>> owners, size_t rank, const Matrix& routes);
  size_t round_rows() const { return round_rows_; }
  /// Of AssignShared: rows [rank_first(r), rank_first(r + 1)) are those that rank r computes.
  size_t rank_first(size_t rank) const { return rank_start_[rank]; }
  /// Whether some of them are the token's.
  bool IsComputedBy(size_t rank, size_t token) const {
    const uint32_t* pairs = token_pair_.data() + token * top_k_;
    return std::any_of(pairs, pairs + top_k_, [&](uint32_t pair) {
      return pair >= rank_start_[rank] && pair < rank_start_[rank + 1];
    });
  }

  size_t num_rounds() const { return (num_pairs_ + round_rows_ - 1) / round_rows_; }
  /// Makes `round` current.
  void BeginRound(size_t round);
  /// Of the current round, and of what this rank computes; none has more than kLinearMaxRows rows.
  std::span<const ExpertGroup> groups() const { return groups_; }
  size_t num_rows() const { return end_ - begin_; }
  /// Rows [first_own(), end_own()) of the round are those that this rank computes.
  size_t first_own() const { return groups_.empty() ? 0 : groups_.front().first_row; }
  size_t end_own() const { return groups_.empty() ? 0 : groups_.back().first_row + groups_.back().rows; }
  uint32_t token(size_t row) const { return pair_token_[begin_ + row]; }

  /// Calls add(row, weight) for the rows of the current round that are `token`'s, experts ascending.
  template <typename Add>
  void ForToken(size_t token, const Add& add) const {
    for (size_t k = 0; k < top_k_; ++k) {
      const uint32_t pair = token_pair_[token * top_k_ + k];
      if (pair >= begin_ && pair < end_) add(pair - begin_, pair_weight_[pair]);
    }
  }

 private:
  static constexpr uint32_t kElsewhere = UINT32_MAX;

  void Place(size_t token, size_t k, uint32_t pair, float weight) {
    token_pair_[token * top_k_ + k] = pair;
    pair_token_[pair] = static_cast<uint32_t>(token);
    pair_weight_[pair] = weight;
  }
  /// Shares each expert's pairs, which expert_start_ counts, among its copies, so that ranks have about as
  /// much to do.
  void ShareOut(std::span<const std::vector<uint32_t>> owners);
  /// Groups of expert number `expert`, of pairs [first, end).
  void AddGroups(size_t expert, size_t first, size_t end) {
    for (size_t at = first; at < end; at += kLinearMaxRows)
      groups_.push_back({expert, at - begin_, std::min(kLinearMaxRows, end - at)});
  }

  size_t round_rows_ = 1;
  size_t top_k_ = 0;
  size_t num_pairs_ = 0;
  size_t num_experts_ = 0;
  size_t begin_ = 0, end_ = 0;
  std::vector<uint32_t> expert_start_;  // [num_experts + 1], first pair of each; of shared ones how many
  std::vector<uint32_t> rank_start_;    // [max_ranks + 1]
  std::vector<uint32_t> rank_next_;
  // Of experts that ranks share, copy by copy, those of an expert being neighbours in the order of ranks.
  struct Copy {
    uint32_t pairs;  ///< left to be placed
    uint32_t next;   ///< where the next one is
  };
  std::vector<Copy> copies_;
  std::vector<uint32_t> expert_copy_;  // [max_experts], the first that has pairs left
  std::vector<uint32_t> pair_token_;
  std::vector<float> pair_weight_;
  std::vector<uint32_t> token_pair_;  // [tokens, top_k], kElsewhere for an expert of another rank
  std::vector<ExpertGroup> groups_;
};

}  // namespace skein::cpu
