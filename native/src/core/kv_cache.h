#pragma once

#include <cstddef>
#include <vector>

#include "core/checked_math.h"
#include "core/mapped_memory.h"
#include "core/program_spec.h"
#include "skein/status.h"

namespace skein {

/// Bytes of a whole pool; kInvalidArgument when a size is impossible.
Status KVCacheBytes(const KVCacheSpec& spec, size_t* bytes);

/// One layer of the pool: [num_blocks, num_parts (K, V, or one for both), num_kv_heads], each a head's piece
/// of a block: its rows, [block_size, head_dim] in `dtype`, then, for the one-byte types, their scales, f32
/// [num_scales, block_size], from the next multiple of 4 bytes on. So what a block holds of a layer is one
/// contiguous run of bytes, of a length that depends on the shape alone. An element stands for code * scale.
struct KVCacheLayer {
  std::byte* data = nullptr;
  KVCacheDtype dtype = KVCacheDtype::kF32;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t num_parts = 2;
  uint32_t block_size = 0;
  /// Last elements of a row that have a scale of their own, the second one.
  uint32_t rope_dim = 0;

  /// The part V is read from; K is in part 0.
  uint32_t value_part() const { return num_parts - 1; }
  /// Of a row: 0 where elements stand for themselves.
  uint32_t num_scales() const { return !HasScales(dtype) ? 0 : rope_dim > 0 ? 2 : 1; }
  size_t RowBytes() const { return head_dim * DtypeBytes(dtype); }
  size_t RowsBytes() const {
    const size_t bytes = block_size * RowBytes();
    return num_scales() > 0 ? RoundUp(bytes, sizeof(float)) : bytes;
  }
  size_t HeadBytes() const { return RowsBytes() + size_t{num_scales()} * block_size * sizeof(float); }
  /// First byte of the piece of one head: the row of the block's first position.
  std::byte* Head(uint32_t block, uint32_t part, uint32_t head) const {
    return data + ((size_t{block} * num_parts + part) * num_kv_heads + head) * HeadBytes();
  }
  /// The scales in a head's piece: [num_scales, block_size].
  float* Scales(std::byte* head) const { return reinterpret_cast<float*>(head + RowsBytes()); }
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
