#include "core/kv_cache.h"

#include <string>

#include "core/checked_math.h"

namespace skein {
namespace {

constexpr size_t kLayerAlignment = 4096;

KVCacheLayer LayerOf(const KVCacheSpec& spec, const KVCacheLayerSpec& layer, std::byte* at) {
  return {
      at, spec.dtype, layer.num_kv_heads, layer.head_dim, layer.num_parts, spec.block_size, layer.rope_dim};
}

Status LayerBytes(const KVCacheSpec& spec, const KVCacheLayerSpec& layer, size_t* bytes) {
  // Of 32-bit factors, so HeadBytes fits when a row has less than 2^24 elements.
  bool fits = layer.head_dim > layer.rope_dim && layer.head_dim < 1u << 24 && spec.block_size > 0;
  *bytes = fits ? LayerOf(spec, layer, nullptr).HeadBytes() : 0;
  for (const uint32_t n : {layer.num_parts, spec.num_blocks, layer.num_kv_heads})
    fits = fits && n > 0 && CheckedMul(*bytes, n, bytes) && *bytes <= SIZE_MAX / 2;
  if (!fits) {
    return {Code::kInvalidArgument, "kvCache: a layer of " + std::to_string(layer.num_kv_heads) +
                                        " heads of " + std::to_string(layer.head_dim) + " is impossible"};
  }
  *bytes = RoundUp(*bytes, kLayerAlignment);
  return Status::Ok();
}

}  // namespace

Status KVCacheBytes(const KVCacheSpec& spec, size_t* bytes) {
  *bytes = 0;
  for (const KVCacheLayerSpec& layer : spec.layers) {
    size_t layer_bytes;
    if (Status s = LayerBytes(spec, layer, &layer_bytes); !s.ok()) return s;
    if (!CheckedAdd(*bytes, layer_bytes, bytes))
      return {Code::kInvalidArgument, "kvCache does not fit in memory"};
  }
  return Status::Ok();
}

Status KVCache::Allocate(const KVCacheSpec& spec) {
  size_t bytes;
  if (Status s = KVCacheBytes(spec, &bytes); !s.ok()) return s;
  if (Status s = MappedMemory::Allocate(bytes, &memory_); !s.ok()) return s;
  std::byte* at = memory_.data();
  for (const KVCacheLayerSpec& layer : spec.layers) {
    size_t layer_bytes;
    if (Status s = LayerBytes(spec, layer, &layer_bytes); !s.ok()) return s;
    layers_.push_back(LayerOf(spec, layer, at));
    at += layer_bytes;
  }
  return Status::Ok();
}

}  // namespace skein
