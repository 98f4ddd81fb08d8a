// Loads of the KV cache's quantized elements. Included once per target.
#if defined(SKEIN_CPU_KV_LOAD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_KV_LOAD_INL_H
#undef SKEIN_CPU_KV_LOAD_INL_H
#else
#define SKEIN_CPU_KV_LOAD_INL_H
#endif

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Codes of a quantized cache, to be scaled by their row's scale times kCodeUnit. In this namespace, so that
/// templates find their loads.
struct KVF8 {
  uint8_t bits;
};
struct KVI8 {
  int8_t code;
};

template <typename T>
constexpr bool kScaled = std::is_same_v<T, KVF8> || std::is_same_v<T, KVI8>;
/// What a loaded 1 stands for.
template <typename T>
constexpr float kCodeUnit = std::is_same_v<T, KVF8> ? 256.0f : 1.0f;

HWY_INLINE VF LoadF32(const KVI8* p) {
  const hn::Rebind<int8_t, DF> d8;
  const hn::RebindToSigned<DF> d32;
  return hn::ConvertTo(DF(), hn::PromoteTo(d32, hn::LoadU(d8, &p->code)));
}

/// Numbers only: the writer stores no NaN.
HWY_INLINE VF LoadF32(const KVF8* p) {
#if HWY_TARGET == HWY_SSE4
  const DF d;
  const hn::Rebind<uint8_t, DF> d8;
  const hn::RebindToSigned<DF> di;
  const auto bits = hn::PromoteTo(di, hn::LoadU(d8, &p->bits));
  const auto sign = hn::ShiftLeft<24>(hn::And(bits, hn::Set(di, 0x80)));
  const auto rest = hn::ShiftLeft<20>(hn::And(bits, hn::Set(di, 0x7f)));
  return hn::BitCast(d, hn::Or(sign, hn::BitCast(di, hn::Mul(hn::BitCast(d, rest), hn::Set(d, 0x1p112f)))));
#else
  // As f16, whose exponents are 8 higher, subnormals included.
  const hn::Rebind<int8_t, DF> d8;
  const hn::Rebind<int16_t, DF> d16;
  const hn::Rebind<hwy::float16_t, DF> df16;
  const auto wide = hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const int8_t*>(p)));
  const auto half = hn::And(hn::ShiftLeft<7>(wide), hn::Set(d16, static_cast<int16_t>(0xbf80)));
  return hn::PromoteTo(DF(), hn::BitCast(df16, half));
#endif
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
