#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kv_cache.h"

namespace skein::cpu {

/// A run of a token's row in the piece of a block that a head has.
struct KVRowRun {
  std::byte* head;  // KVCacheLayer::Head
  uint32_t row;     // in the block
  /// First element: 0, or head_dim - rope_dim, which has a scale of its own.
  size_t first;
};

/// Stores `n` elements. Those of f8e4m3 and i8 are divided by a scale first, that of the largest among them,
/// which is NaN if any is not finite; all types round to nearest even.
void WriteKVRow(const KVCacheLayer& layer, const KVRowRun& run, const float* x, size_t n);

}  // namespace skein::cpu
