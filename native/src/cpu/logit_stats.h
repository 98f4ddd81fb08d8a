#pragma once

#include <cstddef>
#include <cstdint>

/// Vectorised passes over one row of logits.
namespace skein::cpu {

struct ArgMax {
  float value;
  int32_t id;   // the lowest of equals
  bool finite;  // no NaN, no infinity in the whole row
};

ArgMax FindArgMax(const float* logits, size_t n);

/// Sum of exp((logits[i] - shift) * factor), in a fixed order. (logits[i] - shift) * factor must be <= 0.
double SumExp(const float* logits, size_t n, float shift, float factor);

/// out[i] = exp((logits[i] - shift) * factor).
void ExpRow(const float* logits, size_t n, float shift, float factor, float* out);

/// Elements above `value`, plus those equal to it before index `id`.
size_t CountBefore(const float* logits, size_t n, float value, size_t id);

}  // namespace skein::cpu
