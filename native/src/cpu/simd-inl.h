// Per-target loads and reductions. Included once per target, before the kernels that use it.
#if defined(SKEIN_CPU_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_SIMD_INL_H
#undef SKEIN_CPU_SIMD_INL_H
#else
#define SKEIN_CPU_SIMD_INL_H
#endif

#include <cstring>

#include "core/dtype.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(float);

HWY_INLINE VF LoadF32(const float* p) { return hn::LoadU(DF(), p); }

HWY_INLINE VF LoadF32(const BF16* p) {
  const DF d;
  const hn::Rebind<uint16_t, DF> d16;
  const hn::RebindToUnsigned<DF> d32;
  return hn::BitCast(
      d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p)))));
}

HWY_INLINE VF LoadF32(const F16* p) {
#if HWY_TARGET == HWY_SSE4
  // Highway's own conversion without F16C reads infinities as 65536.
  const DF d;
  const hn::Rebind<uint16_t, DF> d16;
  const hn::RebindToSigned<DF> di;
  const auto bits = hn::PromoteTo(di, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(di, 0x8000)));
  const auto rest = hn::ShiftLeft<13>(hn::And(bits, hn::Set(di, 0x7fff)));
  // As FloatFromF16: the product rebiases the exponent and normalises subnormals.
  const auto finite = hn::BitCast(di, hn::Mul(hn::BitCast(d, rest), hn::Set(d, 0x1p112f)));
  const auto special = hn::Or(rest, hn::Set(di, 0x7f800000));
  const auto is_special = hn::Gt(rest, hn::Set(di, 0x0f7fffff));
  return hn::BitCast(d, hn::Or(sign, hn::IfThenElse(is_special, special, finite)));
#else
  const hn::Rebind<hwy::float16_t, DF> d16;
  const hn::Rebind<uint16_t, DF> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(p));
  return hn::PromoteTo(DF(), hn::BitCast(d16, bits));
#endif
}

HWY_INLINE VF LoadF32(const F8E4M3* p) {
  const DF d;
#if HWY_TARGET == HWY_SSE4
  const hn::Rebind<uint8_t, DF> d8;
  const hn::RebindToSigned<DF> di;
  const auto bits = hn::PromoteTo(di, hn::LoadU(d8, reinterpret_cast<const uint8_t*>(p)));
  const auto sign = hn::ShiftLeft<24>(hn::And(bits, hn::Set(di, 0x80)));
  const auto rest = hn::And(bits, hn::Set(di, 0x7f));
  const auto finite = hn::BitCast(di, hn::Mul(hn::BitCast(d, hn::ShiftLeft<20>(rest)), hn::Set(d, 0x1p120f)));
  const auto nan = hn::And(hn::VecFromMask(di, hn::Eq(rest, hn::Set(di, 0x7f))), hn::Set(di, 0x7fc00000));
  return hn::BitCast(d, hn::Or(sign, hn::Or(finite, nan)));
#else
  // As f16 with the exponent 8 too low, which takes subnormals along.
  const hn::Rebind<int8_t, DF> d8;
  const hn::Rebind<int16_t, DF> d16;
  const hn::Rebind<hwy::float16_t, DF> df16;
  const auto wide = hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const int8_t*>(p)));
  const auto rest = hn::And(hn::ShiftLeft<7>(wide), hn::Set(d16, 0x3f80));
  const auto nan = hn::VecFromMask(d16, hn::Eq(rest, hn::Set(d16, 0x3f80)));
  const auto signed_rest = hn::And(hn::ShiftLeft<7>(wide), hn::Set(d16, static_cast<int16_t>(0xbf80)));
  const auto half = hn::Or(signed_rest, hn::And(nan, hn::Set(d16, 0x7e00)));
  return hn::Mul(hn::PromoteTo(d, hn::BitCast(df16, half)), hn::Set(d, 256.0f));
#endif
}

/// The first `count` (< kLanes) elements; zeros above. Never reads past them.
template <typename T>
HWY_INLINE VF LoadPartial(const T* p, size_t count) {
  HWY_ALIGN T lanes[kLanes] = {};
  std::memcpy(lanes, p, count * sizeof(T));
  return LoadF32(lanes);
}

HWY_INLINE void StorePartial(VF v, float* p, size_t count) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, DF(), lanes);
  std::memcpy(p, lanes, count * sizeof(float));
}

template <class D, class V>
HWY_INLINE hn::Vec128<float> FoldBlocks(D d, V v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return FoldBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// [sum a, sum b, sum c, sum d]: the order of the additions is the same for all four.
HWY_INLINE hn::Vec128<float> SumsOf4(VF a, VF b, VF c, VF e) {
  const DF d;
  const hn::RepartitionToWide<DF> wide;
  const VF ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const VF ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto low = hn::InterleaveLower(wide, hn::BitCast(wide, ab), hn::BitCast(wide, ce));
  const auto high = hn::InterleaveUpper(wide, hn::BitCast(wide, ab), hn::BitCast(wide, ce));
  return FoldBlocks(d, hn::Add(hn::BitCast(d, low), hn::BitCast(d, high)));
}

HWY_INLINE float SumOf(VF v) { return hn::GetLane(SumsOf4(v, v, v, v)); }

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
