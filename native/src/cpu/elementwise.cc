#include "cpu/elementwise.h"

#include <cmath>
#include <cstring>

#include "core/float_bits.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/elementwise.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
#include "cpu/soft_cap-inl.h"
#include "hwy/contrib/math/math-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

void RmsNormImpl(const float* x, const cpu::RmsNormWeight& w, size_t n, float* out) {
  const DF d;
  VF squares = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF v = LoadF32(x + i);
    squares = hn::MulAdd(v, v, squares);
  }
  if (i < n) {
    const VF v = LoadPartial(x + i, n - i);
    squares = hn::MulAdd(v, v, squares);
  }
  const float inverse = 1.0f / std::sqrt(SumOf(squares) / static_cast<float>(n) + w.eps);
  const VF factor = hn::Set(d, inverse), offset = hn::Set(d, w.offset);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const VF weight = hn::Add(LoadF32(w.weight + i), offset);
    hn::StoreU(hn::Mul(hn::Mul(LoadF32(x + i), factor), weight), d, out + i);
  }
  for (; i < n; ++i) out[i] = x[i] * inverse * (w.weight[i] + w.offset);
}

void SiluMulImpl(const float* gate, const float* up, size_t n, float* out) {
  const DF d;
  const VF one = hn::Set(d, 1.0f);
  // exp(-gate) overflows to infinity below, where silu is 0 to the last bit anyway.
  const VF lowest = hn::Set(d, -87.0f);
  const auto silu_mul = [&](VF g, VF u) HWY_ATTR {
    const VF e = hn::Exp(d, hn::Neg(hn::Max(g, lowest)));
    return hn::Mul(hn::Div(g, hn::Add(one, e)), u);
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(silu_mul(LoadF32(gate + i), LoadF32(up + i)), d, out + i);
  if (i < n) StorePartial(silu_mul(LoadPartial(gate + i, n - i), LoadPartial(up + i, n - i)), out + i, n - i);
}

void GeluTanhMulImpl(const float* gate, const float* up, size_t n, float* out) {
  const DF d;
  const VF one = hn::Set(d, 1.0f);
  // (1 + tanh u) / 2 = 1 / (1 + exp(-2u)): no digits are lost where tanh nears -1.
  const VF linear = hn::Set(d, -1.5957691216f), cubic = hn::Set(d, -0.0713548162726f);
  // Beyond these gelu is 0 or its argument to the last bit, and Exp takes no infinity.
  const VF lowest = hn::Set(d, -87.0f), highest = hn::Set(d, 87.0f);
  const auto gelu_mul = [&](VF g, VF u) HWY_ATTR {
    const VF exponent = hn::Mul(g, hn::MulAdd(hn::Mul(g, g), cubic, linear));
    const VF e = hn::Exp(d, hn::Clamp(exponent, lowest, highest));
    return hn::Mul(hn::Div(g, hn::Add(one, e)), u);
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(gelu_mul(LoadF32(gate + i), LoadF32(up + i)), d, out + i);
  if (i < n) StorePartial(gelu_mul(LoadPartial(gate + i, n - i), LoadPartial(up + i, n - i)), out + i, n - i);
}

void SoftCapImpl(const float* x, float cap, size_t n, float* out) {
  const DF d;
  const VF factor = hn::Set(d, cap), inverse = hn::Set(d, 1.0f / cap);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(SoftCapOf(LoadF32(x + i), factor, inverse), d, out + i);
  if (i < n) StorePartial(SoftCapOf(LoadPartial(x + i, n - i), factor, inverse), out + i, n - i);
}

void ScaleImpl(const float* x, float factor, size_t n, float* out) {
  const VF f = hn::Set(DF(), factor);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Mul(LoadF32(x + i), f), DF(), out + i);
  for (; i < n; ++i) out[i] = x[i] * factor;
}

void AddImpl(const float* a, const float* b, size_t n, float* out) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(hn::Add(LoadF32(a + i), LoadF32(b + i)), DF(), out + i);
  for (; i < n; ++i) out[i] = a[i] + b[i];
}

void AddScaledImpl(const float* x, float factor, size_t n, float* out) {
  const DF d;
  const VF f = hn::Set(d, factor);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    hn::StoreU(hn::MulAdd(LoadF32(x + i), f, LoadF32(out + i)), d, out + i);
  if (i < n)
    StorePartial(hn::MulAdd(LoadPartial(x + i, n - i), f, LoadPartial(out + i, n - i)), out + i, n - i);
}

void RopeImpl(const float* x, const float* cos, const float* sin, size_t half, size_t head_dim, float* out) {
  const DF d;
  const float* low = x;
  const float* high = x + half;
  size_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const VF c = LoadF32(cos + i), s = LoadF32(sin + i), a = LoadF32(low + i), b = LoadF32(high + i);
    hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), d, out + i);
    hn::StoreU(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), d, out + half + i);
  }
  for (; i < half; ++i) {
    out[i] = low[i] * cos[i] - high[i] * sin[i];
    out[half + i] = high[i] * cos[i] + low[i] * sin[i];
  }
  std::memcpy(out + 2 * half, x + 2 * half, (head_dim - 2 * half) * sizeof(float));
}

void RopeInterleavedImpl(const float* x, const float* cos, const float* sin, size_t half, size_t head_dim,
                         float* out) {
  const DF d;
  size_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    VF a, b;
    hn::LoadInterleaved2(d, x + 2 * i, a, b);
    const VF c = LoadF32(cos + i), s = LoadF32(sin + i);
    hn::StoreInterleaved2(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), hn::Add(hn::Mul(b, c), hn::Mul(a, s)), d,
                          out + 2 * i);
  }
  for (; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    out[2 * i] = a * cos[i] - b * sin[i];
    out[2 * i + 1] = b * cos[i] + a * sin[i];
  }
  std::memcpy(out + 2 * half, x + 2 * half, (head_dim - 2 * half) * sizeof(float));
}

template <typename T>
void WidenElements(const T* x, size_t n, float* out) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(LoadF32(x + i), DF(), out + i);
  if (i < n) StorePartial(LoadPartial(x + i, n - i), out + i, n - i);
}

void WidenImpl(const void* x, Dtype dtype, size_t n, float* out) {
  switch (dtype) {
    case Dtype::kF32:
      return WidenElements(static_cast<const float*>(x), n, out);
    case Dtype::kF16:
      return WidenElements(static_cast<const F16*>(x), n, out);
    case Dtype::kBF16:
      return WidenElements(static_cast<const BF16*>(x), n, out);
    case Dtype::kF8E4M3:
      return WidenElements(static_cast<const F8E4M3*>(x), n, out);
  }
}

void NarrowImpl(const float* x, Dtype dtype, size_t n, void* out) {
  auto* half = static_cast<uint16_t*>(out);
  switch (dtype) {
    case Dtype::kF32:
      std::memcpy(out, x, n * sizeof(float));
      return;
    case Dtype::kF16:
      for (size_t i = 0; i < n; ++i) half[i] = F16FromFloat(x[i]);
      return;
    case Dtype::kBF16:
      for (size_t i = 0; i < n; ++i) half[i] = BF16FromFloat(x[i]);
      return;
    case Dtype::kF8E4M3:
      for (size_t i = 0; i < n; ++i) static_cast<uint8_t*>(out)[i] = F8E4M3FromFloat(x[i]);
      return;
  }
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(RmsNormImpl);
HWY_EXPORT(SiluMulImpl);
HWY_EXPORT(GeluTanhMulImpl);
HWY_EXPORT(SoftCapImpl);
HWY_EXPORT(ScaleImpl);
HWY_EXPORT(AddImpl);
HWY_EXPORT(AddScaledImpl);
HWY_EXPORT(RopeImpl);
HWY_EXPORT(RopeInterleavedImpl);
HWY_EXPORT(WidenImpl);
HWY_EXPORT(NarrowImpl);
namespace cpu {

void RmsNormRow(const float* x, const RmsNormWeight& weight, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormImpl)(x, weight, n, out);
}
void SiluMulRow(const float* gate, const float* up, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(SiluMulImpl)(gate, up, n, out);
}
void GeluTanhMulRow(const float* gate, const float* up, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(GeluTanhMulImpl)(gate, up, n, out);
}
void SoftCapRow(const float* x, float cap, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(SoftCapImpl)(x, cap, n, out);
}
void ScaleRow(const float* x, float factor, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(ScaleImpl)(x, factor, n, out);
}
void AddRow(const float* a, const float* b, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(AddImpl)(a, b, n, out);
}
void RopeHead(const float* x, const float* cos, const float* sin, size_t half, size_t head_dim, float* out) {
  HWY_DYNAMIC_DISPATCH(RopeImpl)(x, cos, sin, half, head_dim, out);
}
void RopeInterleavedHead(const float* x, const float* cos, const float* sin, size_t half, size_t head_dim,
                         float* out) {
  HWY_DYNAMIC_DISPATCH(RopeInterleavedImpl)(x, cos, sin, half, head_dim, out);
}
void AddScaledRow(const float* x, float factor, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(AddScaledImpl)(x, factor, n, out);
}
void WidenRow(const void* x, Dtype dtype, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(WidenImpl)(x, dtype, n, out);
}
void NarrowRow(const float* x, Dtype dtype, size_t n, void* out) {
  HWY_DYNAMIC_DISPATCH(NarrowImpl)(x, dtype, n, out);
}

}  // namespace cpu
}  // namespace skein
#endif
