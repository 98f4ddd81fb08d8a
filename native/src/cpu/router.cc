#include "cpu/router.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/router.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

// Outside these exp is 0 or infinity in f32; the clamp keeps the infinities out of Exp.
HWY_INLINE VF ExpClamped(VF x) {
  const DF d;
  return hn::Exp(d, hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 88.0f)));
}

template <typename F>
HWY_INLINE void Map(const float* x, size_t n, float* out, const F& f) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(f(LoadF32(x + i)), DF(), out + i);
  if (i < n) StorePartial(f(LoadPartial(x + i, n - i)), out + i, n - i);
}

void ScoresImpl(RouteScore score, const float* logits, size_t n, float* out) {
  const DF d;
  if (score == RouteScore::kSigmoid) {
    const VF one = hn::Set(d, 1.0f);
    Map(logits, n, out, [&](VF x) HWY_ATTR { return hn::Div(one, hn::Add(one, ExpClamped(hn::Neg(x)))); });
    return;
  }
  const VF shift = hn::Set(d, *std::max_element(logits, logits + n));
  Map(logits, n, out, [&](VF x) HWY_ATTR { return ExpClamped(hn::Sub(x, shift)); });
  VF sums = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sums = hn::Add(sums, LoadF32(out + i));
  if (i < n) sums = hn::Add(sums, LoadPartial(out + i, n - i));
  const VF total = hn::Set(d, SumOf(sums));
  Map(out, n, out, [&](VF x) HWY_ATTR { return hn::Div(x, total); });
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(ScoresImpl);
namespace cpu {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

float BestTwo(const float* x, size_t n) {
  float best = kLowest, second = kLowest;
  for (size_t i = 0; i < n; ++i) {
    if (x[i] > best) {
      second = best;
      best = x[i];
    } else {
      second = std::max(second, x[i]);
    }
  }
  return best + second;
}

/// Calls take(index) for the `count` largest of x, largest first. `taken` [n] is scratch.
template <typename Take>
void TakeLargest(const float* x, size_t n, size_t count, float* taken, const Take& take) {
  std::fill_n(taken, n, 0.0f);
  for (size_t k = 0; k < count; ++k) {
    size_t best = n;
    for (size_t i = 0; i < n; ++i) {
      if (taken[i] == 0 && (best == n || x[i] > x[best])) best = i;
    }
    taken[best] = 1;
    take(best);
  }
}

/// Leaves only the experts of the best groups in the choice.
void KeepBestGroups(const RouteSpec& route, size_t num_experts, float* choice, float* group_scores,
                    float* taken) {
  const size_t size = num_experts / route.num_groups;
  for (size_t g = 0; g < route.num_groups; ++g) {
    const float* group = choice + g * size;
    group_scores[g] = route.group_score == GroupScore::kBest ? *std::max_element(group, group + size)
                                                             : BestTwo(group, size);
  }
  TakeLargest(group_scores, route.num_groups, route.top_k_groups, taken, [](size_t) {});
  for (size_t g = 0; g < route.num_groups; ++g) {
    if (taken[g] == 0) std::fill_n(choice + g * size, size, kLowest);
  }
}

}  // namespace

void RouteRow(const RouteSpec& route, const float* logits, const float* bias, size_t num_experts,
              float* scratch, float* out) {
  float* scores = scratch;
  float* choice = scratch + num_experts;
  float* taken = scratch + 2 * num_experts;
  HWY_DYNAMIC_DISPATCH(ScoresImpl)(route.score, logits, num_experts, scores);
  for (size_t e = 0; e < num_experts; ++e) choice[e] = bias == nullptr ? scores[e] : scores[e] + bias[e];
  if (route.top_k_groups < route.num_groups) {
    KeepBestGroups(route, num_experts, choice, scratch + 3 * num_experts, taken);
  }
  float* weights = out + route.top_k;
  size_t count = 0;
  TakeLargest(choice, num_experts, route.top_k, taken,
              [&](size_t e) { out[count++] = static_cast<float>(e); });
  std::sort(out, out + route.top_k);
  float total = 0;
  for (size_t k = 0; k < route.top_k; ++k) total += weights[k] = scores[static_cast<size_t>(out[k])];
  const float factor = route.renormalize ? route.scale / (total + 1e-20f) : route.scale;
  for (size_t k = 0; k < route.top_k; ++k) weights[k] *= factor;
}

}  // namespace cpu
}  // namespace skein
#endif
