#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

/// Row-wise operations on f32; nothing needs alignment or padding.
namespace skein::cpu {

struct RmsNormWeight {
  const float* weight;
  float offset;
  float eps;
};

/// out = x / sqrt(mean(x^2) + eps) * (weight + offset) over `n` elements.
void RmsNormRow(const float* x, const RmsNormWeight& weight, size_t n, float* out);

/// out = silu(gate) * up.
void SiluMulRow(const float* gate, const float* up, size_t n, float* out);

/// out = gelu(gate) * up, gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
void GeluTanhMulRow(const float* gate, const float* up, size_t n, float* out);

/// out = cap * tanh(x / cap). `out` may be `x`.
void SoftCapRow(const float* x, float cap, size_t n, float* out);

/// out = x * factor. `out` may be `x`.
void ScaleRow(const float* x, float factor, size_t n, float* out);

/// out = a + b.
void AddRow(const float* a, const float* b, size_t n, float* out);

/// out = out + factor * x.
void AddScaledRow(const float* x, float factor, size_t n, float* out);

/// Rotates the first 2 * half elements of a head by cos and sin [half]; copies the others. Element i turns
/// with element half + i.
void RopeHead(const float* x, const float* cos, const float* sin, size_t half, size_t head_dim, float* out);
/// The same where element 2 * i turns with element 2 * i + 1.
void RopeInterleavedHead(const float* x, const float* cos, const float* sin, size_t half, size_t head_dim,
                         float* out);

/// out[i] = x[i] widened.
void WidenRow(const void* x, Dtype dtype, size_t n, float* out);

/// out[i] = x[i] in `dtype`, rounded to nearest even; f8e4m3 saturates.
void NarrowRow(const float* x, Dtype dtype, size_t n, void* out);

}  // namespace skein::cpu
