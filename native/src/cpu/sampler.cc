#include "cpu/sampler.h"

#include <algorithm>
#include <limits>

#include "cpu/logit_stats.h"

namespace skein::cpu {
namespace {

constexpr size_t kBuckets = 2048;
// Width of a bucket in scaled logits is 1/32: few elements share one unless the row is nearly flat.
constexpr float kBucketsPerNat = 32.0f;

/// The last element that is kept, in the order of falling logit and rising id.
struct Cut {
  float logit = -std::numeric_limits<float>::infinity();
  int32_t id = std::numeric_limits<int32_t>::max();
  bool Keeps(float other, size_t other_id) const {
    return other > logit || (other == logit && static_cast<int32_t>(other_id) <= id);
  }
};

struct Row {
  const float* logits;
  size_t n;
  float max_logit;
  float factor;  // 1 / temperature
  float* weights;
  int32_t* ids;

  size_t Bucket(size_t i) const {
    const float distance = (max_logit - logits[i]) * factor * kBucketsPerNat;
    return distance < static_cast<float>(kBuckets - 1) ? static_cast<size_t>(distance) : kBuckets - 1;
  }
};

/// The element at which the running sum of `amount(i)` over elements with a non-zero weight, largest logit
/// first, reaches `target`. Linear but for the bucket where that happens, which is sorted.
template <typename Amount>
Cut FindCut(const Row& row, double target, const Amount& amount) {
  double sums[kBuckets] = {};
  for (size_t i = 0; i < row.n; ++i) {
    if (row.weights[i] > 0) sums[row.Bucket(i)] += amount(i);
  }
  double before = 0;
  size_t bucket = 0;
  while (bucket + 1 < kBuckets && before + sums[bucket] < target) before += sums[bucket++];
  size_t count = 0;
  for (size_t i = 0; i < row.n; ++i) {
    if (row.weights[i] > 0 && row.Bucket(i) == bucket) row.ids[count++] = static_cast<int32_t>(i);
  }
  if (count == 0) return {};
  std::sort(row.ids, row.ids + count, [&](int32_t a, int32_t b) {
    return row.logits[a] != row.logits[b] ? row.logits[a] > row.logits[b] : a < b;
  });
  size_t last = 0;
  for (; last + 1 < count; ++last) {
    before += amount(static_cast<size_t>(row.ids[last]));
    if (before >= target) break;
  }
  return {row.logits[row.ids[last]], row.ids[last]};
}

void Drop(const Row& row, const Cut& cut) {
  for (size_t i = 0; i < row.n; ++i) {
    if (!cut.Keeps(row.logits[i], i)) row.weights[i] = 0;
  }
}

double TotalWeight(const Row& row) {
  double total = 0;
  for (size_t i = 0; i < row.n; ++i) total += row.weights[i];
  return total;
}

}  // namespace

int32_t SampleToken(const float* logits, size_t n, float max_logit, const SampleParams& params,
                    SamplerScratch scratch) {
  const float factor = params.factor();
  Draw best;
  const bool cuts = params.min_p > 0 || (params.top_k > 0 && params.top_k < n) || params.top_p < 1;
  if (!cuts) {
    DrawBest(logits, n, 0, factor, params.noise(), &best);
    return best.id;
  }
  const Row row{logits, n, max_logit, factor, scratch.weights, scratch.ids};
  ExpRow(logits, n, max_logit, factor, row.weights);
  if (params.min_p > 0) {
    for (size_t i = 0; i < n; ++i) {
      if (row.weights[i] < params.min_p) row.weights[i] = 0;
    }
  }
  if (params.top_k > 0 && params.top_k < n) {
    Drop(row, FindCut(row, params.top_k, [](size_t) { return 1.0; }));
  }
  if (params.top_p < 1) {
    const double target = static_cast<double>(params.top_p) * TotalWeight(row);
    Drop(row, FindCut(row, target, [&](size_t i) { return static_cast<double>(row.weights[i]); }));
  }
  for (size_t i = 0; i < n; ++i) {
    row.weights[i] = row.weights[i] > 0 ? logits[i] : -std::numeric_limits<float>::infinity();
  }
  DrawBest(row.weights, n, 0, factor, params.noise(), &best);
  return best.id;
}

void TopIds(const float* logits, size_t n, size_t k, int32_t* ids) {
  size_t count = 0;
  for (size_t i = 0; i < n && k > 0; ++i) {
    if (count == k && !(logits[i] > logits[ids[k - 1]])) continue;
    size_t at = count < k ? count++ : k - 1;
    for (; at > 0 && logits[ids[at - 1]] < logits[i]; --at) ids[at] = ids[at - 1];
    ids[at] = static_cast<int32_t>(i);
  }
}

}  // namespace skein::cpu
