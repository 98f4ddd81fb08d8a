#pragma once

#include <cstddef>
#include <vector>

#include "core/mapped_memory.h"
#include "core/program_spec.h"
#include "skein/status.h"

namespace skein {

/// Bytes of a whole pool; kInvalidArgument when a size is impossible.
Status KVCacheBytes(const KVCacheSpec& spec, size_t* bytes);

/// One layer of the pool: [num_blocks, num_parts (K, V, or one for both), num_kv_heads, block_size, head_dim]
/// in `dtype`.
struct KVCacheLayer {
  std::byte* data = nullptr;
  Dtype dtype = Dtype::kF32;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t num_parts = 2;
  uint32_t block_size = 0;

  /// The part V is read from; K is in part 0.
  uint32_t value_part() const { return num_parts - 1; }
  /// First byte of [position in block 0..block_size) x head_dim of one head.
  std::byte* Head(uint32_t block, uint32_t part, uint32_t head) const {
    const size_t rows = ((size_t{block} * num_parts + part) * num_kv_heads + head) * block_size;
    return data + rows * head_dim * DtypeBytes(dtype);
  }
};

/// The KV pool of a program: one allocation, zero until written.
class KVCache {
 public:
  Status Allocate(const KVCacheSpec& spec);
  const KVCacheLayer& layer(size_t index) const { return layers_[index]; }

 private:
  MappedMemory memory_;
  std::vector<KVCacheLayer> layers_;
};

}  // namespace skein
