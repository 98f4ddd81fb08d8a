#include "cpu/row_draw.h"

#include <algorithm>
#include <bit>

namespace skein::cpu {

void RowDraw::Begin(const SampleParams& params) {
  finite_ = true;
  top_k_ = params.top_k;
  factor_ = params.temperature == 0 ? 0 : params.factor();
  noise_ = params.noise();
  greedy_ = drawn_ = {};
  count_ = 0;
}

void RowDraw::Add(const float* logits, size_t n, int32_t first_id) {
  const ArgMax best = FindArgMax(logits, n);
  finite_ &= best.finite;
  if (!best.finite) return;
  if (factor_ == 0) {
    greedy_.Take({best.value, first_id + best.id});
  } else if (top_k_ == 0) {
    DrawBest(logits, n, first_id, factor_, noise_, &drawn_);
  } else if (count_ < top_k_ || best.value >= top_[count_ - 1].logit) {
    for (size_t i = 0; i < n; ++i) AddCandidate({logits[i], first_id + static_cast<int32_t>(i)});
  }
}

void RowDraw::AddCandidate(const Candidate& candidate) {
  if (count_ == top_k_ && !candidate.Before(top_[count_ - 1])) return;
  size_t at = count_ < top_k_ ? count_++ : count_ - 1;
  for (; at > 0 && candidate.Before(top_[at - 1]); --at) top_[at] = top_[at - 1];
  top_[at] = candidate;
}

void RowDraw::Merge(const RowDraw& other) {
  finite_ &= other.finite_;
  greedy_.Take(other.greedy_);
  drawn_.Take(other.drawn_);
  for (uint32_t i = 0; i < other.count_; ++i) AddCandidate(other.top_[i]);
}

void RowDraw::Store(float* out) const {
  *out++ = finite_ ? 1.0f : 0.0f;
  if (factor_ == 0 || top_k_ == 0) {
    const Draw& draw = factor_ == 0 ? greedy_ : drawn_;
    *out++ = draw.score;
    *out = std::bit_cast<float>(draw.id);
    return;
  }
  *out++ = std::bit_cast<float>(count_);
  for (uint32_t i = 0; i < count_; ++i) {
    *out++ = top_[i].logit;
    *out++ = std::bit_cast<float>(top_[i].id);
  }
}

void RowDraw::MergeStored(const float* stored) {
  finite_ &= *stored++ == 1;
  if (factor_ == 0 || top_k_ == 0) {
    (factor_ == 0 ? greedy_ : drawn_).Take({stored[0], std::bit_cast<int32_t>(stored[1])});
    return;
  }
  // A peer's word: no more than there is.
  const uint32_t count = std::min(std::bit_cast<uint32_t>(*stored++), top_k_);
  for (uint32_t i = 0; i < count; ++i)
    AddCandidate({stored[2 * i], std::bit_cast<int32_t>(stored[2 * i + 1])});
}

int32_t RowDraw::Token() const {
  if (factor_ == 0) return greedy_.id;
  Draw best = drawn_;
  for (uint32_t i = 0; i < count_; ++i) DrawBest(&top_[i].logit, 1, top_[i].id, factor_, noise_, &best);
  return best.id;
}

}  // namespace skein::cpu
