#include "cpu/logit_stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/logit_stats.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

cpu::ArgMax ArgMaxImpl(const float* x, size_t n) {
  const DF d;
  VF highest = hn::Set(d, -std::numeric_limits<float>::infinity());
  // x - x is 0 for finite x and NaN otherwise, and NaN stays.
  VF taint = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF v = LoadF32(x + i);
    highest = hn::Max(highest, v);
    taint = hn::Add(taint, hn::Sub(v, v));
  }
  float high = hn::GetLane(hn::MaxOfLanes(d, highest));
  float tail = 0;
  for (; i < n; ++i) {
    high = std::max(high, x[i]);
    tail += x[i] - x[i];
  }
  const bool finite = SumOf(taint) + tail == 0.0f;
  size_t id = 0;
  if (finite) {
    const VF target = hn::Set(d, high);
    while (id + kLanes <= n && hn::AllFalse(d, hn::Eq(LoadF32(x + id), target))) id += kLanes;
    while (id + 1 < n && x[id] != high) ++id;
  }
  return {high, static_cast<int32_t>(id), finite};
}

HWY_INLINE VF ExpScaled(VF x, VF shift, VF factor) {
  const VF floor = hn::Set(DF(), -104.0f);
  const VF v = hn::Mul(hn::Sub(x, shift), factor);
  return hn::IfThenElseZero(hn::Gt(v, floor), hn::Exp(DF(), hn::Max(v, floor)));
}

void ExpRowImpl(const float* x, size_t n, float shift, float factor, float* out) {
  const DF d;
  const VF s = hn::Set(d, shift), f = hn::Set(d, factor);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(ExpScaled(LoadF32(x + i), s, f), d, out + i);
  if (i < n) StorePartial(ExpScaled(LoadPartial(x + i, n - i), s, f), out + i, n - i);
}

double SumExpImpl(const float* x, size_t n, float shift, float factor) {
  constexpr size_t kBlock = 4096;
  const DF d;
  const VF s = hn::Set(d, shift), f = hn::Set(d, factor);
  double total = 0;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t end = std::min(n, begin + kBlock);
    VF sum = hn::Zero(d);
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) sum = hn::Add(sum, ExpScaled(LoadF32(x + i), s, f));
    total += SumOf(sum);
    if (i < end) {
      HWY_ALIGN float lanes[kLanes];
      hn::Store(ExpScaled(LoadPartial(x + i, end - i), s, f), d, lanes);
      for (size_t j = 0; j < end - i; ++j) total += lanes[j];
    }
  }
  return total;
}

size_t CountBeforeImpl(const float* x, size_t n, float value, size_t id) {
  const DF d;
  const VF v = hn::Set(d, value);
  size_t count = 0, i = 0;
  for (; i + kLanes <= n; i += kLanes) count += hn::CountTrue(d, hn::Gt(LoadF32(x + i), v));
  for (; i < n; ++i) count += x[i] > value;
  for (i = 0; i + kLanes <= id; i += kLanes) count += hn::CountTrue(d, hn::Eq(LoadF32(x + i), v));
  for (; i < id; ++i) count += x[i] == value;
  return count;
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(ArgMaxImpl);
HWY_EXPORT(ExpRowImpl);
HWY_EXPORT(SumExpImpl);
HWY_EXPORT(CountBeforeImpl);
namespace cpu {

ArgMax FindArgMax(const float* logits, size_t n) { return HWY_DYNAMIC_DISPATCH(ArgMaxImpl)(logits, n); }
double SumExp(const float* logits, size_t n, float shift, float factor) {
  return HWY_DYNAMIC_DISPATCH(SumExpImpl)(logits, n, shift, factor);
}
void ExpRow(const float* logits, size_t n, float shift, float factor, float* out) {
  HWY_DYNAMIC_DISPATCH(ExpRowImpl)(logits, n, shift, factor, out);
}
size_t CountBefore(const float* logits, size_t n, float value, size_t id) {
  return HWY_DYNAMIC_DISPATCH(CountBeforeImpl)(logits, n, value, id);
}

}  // namespace cpu
}  // namespace skein
#endif
