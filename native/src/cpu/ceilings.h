#pragma once

#include <cstddef>

#include "skein/status.h"

namespace skein::cpu {

struct Ceilings {
  double fma_gflops = 0;
  double read_gbps = 0;
  /// Products of 4-bit and of 8-bit weights with 8-bit activations, two operations each.
  double int4_gops = 0;
  double int8_gops = 0;
};

/// What this machine can do with `threads` threads at best: medians of alternating measurements over about
/// `seconds`. Reads go over `read_bytes` of fresh memory, which should exceed the last cache many times.
/// Blocks.
Status MeasureCeilings(size_t threads, double seconds, size_t read_bytes, Ceilings* out);

}  // namespace skein::cpu
