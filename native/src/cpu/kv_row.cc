#include "cpu/kv_row.h"

#include <cmath>

#include "cpu/elementwise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kv_row.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// body(elements, their first index, their count), whole vectors first and then zeros behind the rest.
template <class Body>
HWY_INLINE void ForVectors(const float* x, size_t n, const Body& body) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(LoadF32(x + i), i, kLanes);
  if (i < n) body(LoadPartial(x + i, n - i), i, n - i);
}

/// The largest magnitude; NaN if any element is not finite.
float LargestImpl(const float* x, size_t n) {
  const DF d;
  VF largest = hn::Zero(d), poison = hn::Zero(d);
  ForVectors(x, n, [&](VF v, size_t, size_t) HWY_ATTR {
    largest = hn::Max(largest, hn::Abs(v));
    poison = hn::MulAdd(v, hn::Zero(d), poison);
  });
  return hn::GetLane(hn::MaxOfLanes(d, largest)) + SumOf(poison);
}

/// Codes of x * inverse, whose magnitudes are at most 127.
void I8CodesImpl(const float* x, float inverse, size_t n, int8_t* out) {
  const DF d;
  const hn::Rebind<int8_t, DF> d8;
  ForVectors(x, n, [&](VF v, size_t i, size_t count) HWY_ATTR {
    const auto codes = hn::DemoteTo(d8, hn::NearestInt(hn::Mul(v, hn::Set(d, inverse))));
    HWY_ALIGN int8_t lanes[kLanes];
    hn::StoreU(codes, d8, lanes);
    std::memcpy(out + i, lanes, count);
  });
}

/// The same in f8e4m3, up to 448 (or what rounds to it).
void F8CodesImpl(const float* x, float inverse, size_t n, uint8_t* out) {
  const DF d;
  const hn::Rebind<uint8_t, DF> d8;
  const hn::RebindToSigned<DF> di;
  ForVectors(x, n, [&](VF v, size_t i, size_t count) HWY_ATTR {
    const VF scaled = hn::Mul(v, hn::Set(d, inverse));
    const VF magnitude = hn::Min(hn::Abs(scaled), hn::Set(d, 448.0f));
    const auto bits = hn::BitCast(di, magnitude);
    const auto sign = hn::And(hn::ShiftRight<24>(hn::BitCast(di, scaled)), hn::Set(di, 0x80));
    const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(di, 1));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(di, 0x7ffff)));
    const auto normal = hn::ShiftRight<20>(hn::Sub(rounded, hn::Set(di, 0x3c000000)));
    // Adding 2^14 leaves the rounded count of 2^-9 in the low bits.
    const auto small =
        hn::Sub(hn::BitCast(di, hn::Add(magnitude, hn::Set(d, 0x1p14f))), hn::Set(di, 0x46800000));
    const auto is_small = hn::Lt(bits, hn::Set(di, 0x3c800000));
    const auto codes = hn::DemoteTo(d8, hn::Or(sign, hn::IfThenElse(is_small, small, normal)));
    HWY_ALIGN uint8_t lanes[kLanes];
    hn::StoreU(codes, d8, lanes);
    std::memcpy(out + i, lanes, count);
  });
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(LargestImpl);
HWY_EXPORT(I8CodesImpl);
HWY_EXPORT(F8CodesImpl);
namespace cpu {
namespace {

/// Below this a row is stored as zeros: its scale's inverse would not be finite.
constexpr float kTiny = 1e-30f;

Dtype PlainDtype(KVCacheDtype dtype) {
  return dtype == KVCacheDtype::kF32 ? Dtype::kF32 : dtype == KVCacheDtype::kF16 ? Dtype::kF16 : Dtype::kBF16;
}

}  // namespace

void WriteKVRow(const KVCacheLayer& layer, const KVRowRun& run, const float* x, size_t n) {
  std::byte* to = run.head + run.row * layer.RowBytes() + run.first * DtypeBytes(layer.dtype);
  if (!HasScales(layer.dtype)) {
    NarrowRow(x, PlainDtype(layer.dtype), n, to);
    return;
  }
  const float largest = HWY_DYNAMIC_DISPATCH(LargestImpl)(x, n);
  const float most = layer.dtype == KVCacheDtype::kI8 ? 127.0f : 448.0f;
  const bool is_zero = largest < kTiny, is_number = largest >= kTiny;
  float* scale = layer.Scales(run.head) + (run.first == 0 ? 0 : layer.block_size) + run.row;
  *scale = is_zero ? 0 : largest / most;
  // A row with a NaN scale has codes of 0: read back it is all NaN.
  const float inverse = is_number ? most / largest : 0;
  if (inverse == 0) {
    std::memset(to, 0, n);
  } else if (layer.dtype == KVCacheDtype::kI8) {
    HWY_DYNAMIC_DISPATCH(I8CodesImpl)(x, inverse, n, reinterpret_cast<int8_t*>(to));
  } else {
    HWY_DYNAMIC_DISPATCH(F8CodesImpl)(x, inverse, n, reinterpret_cast<uint8_t*>(to));
  }
}

}  // namespace cpu
}  // namespace skein
#endif
