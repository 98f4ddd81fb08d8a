#pragma once

#include <array>

#include "cpu/draw.h"
#include "cpu/logit_stats.h"
#include "cpu/sampler.h"

namespace skein::cpu {

/// Chooses a row's token from pieces of its logits, seen once, in any order and on several threads: what
/// SampleToken chooses from the whole row.
class RowDraw {
 public:
  /// Logits that are kept for top_k.
  static constexpr uint32_t kMaxTopK = 64;
  static constexpr size_t kMaxStoredFloats = 2 + 2 * size_t{kMaxTopK};
  /// Whether pieces are enough: top_p and min_p ask for the whole row, and so does a large top_k.
  static bool Suffices(const SampleParams& params) {
    const bool whole = params.top_p < 1 || params.min_p > 0 || params.top_k > kMaxTopK;
    return params.temperature == 0 || !whole;
  }

  void Begin(const SampleParams& params);
  /// Logits of the ids from `first_id` on.
  void Add(const float* logits, size_t n, int32_t first_id);
  /// What another thread saw of the same row.
  void Merge(const RowDraw& other);
  bool finite() const { return finite_; }
  /// What another rank needs to merge this: as many floats for every draw with the same parameters, whose
  /// bits are not all numbers.
  size_t StoredFloats() const { return top_k_ > 0 && factor_ != 0 ? 2 + 2 * size_t{top_k_} : 3; }
  void Store(float* out) const;
  void MergeStored(const float* stored);
  int32_t Token() const;

 private:
  struct Candidate {
    float logit;
    int32_t id;
    bool Before(const Candidate& other) const {
      return logit != other.logit ? logit > other.logit : id < other.id;
    }
  };
  void AddCandidate(const Candidate& candidate);

  bool finite_ = true;
  uint32_t top_k_ = 0;  // 0: all
  float factor_ = 0;    // 0: greedy
  NoiseKey noise_{};
  Draw greedy_, drawn_;
  uint32_t count_ = 0;
  std::array<Candidate, kMaxTopK> top_;  // the first `count_`, in order
};

}  // namespace skein::cpu
