#pragma once

#include <cstddef>
#include <cstdint>

#include "core/backend.h"

namespace skein::cpu {

// Part of every result, so never tuned per machine: the softmax is rescaled after each tile, and partial
// results of splits are merged in order, whoever computes them.
constexpr size_t kTilePositions = 64;
constexpr size_t kSplitPositions = 512;

/// Queries of one work item: at most this many rows (tokens x query heads of a KV head), at least one token.
constexpr size_t kAttentionMaxRows = 64;

/// Shape of an attention op, as its scratch is sized.
struct AttentionShape {
  /// Query heads of an item, which share one KV head.
  uint32_t heads_per_kv_head = 1;
  /// Of q and K.
  uint32_t head_dim = 1;
  /// Of V and the output: the first elements of a row of the cache's value part.
  uint32_t value_dim = 1;
  /// Last elements of K with a scale of their own; 0 for none.
  uint32_t rope_dim = 0;
  size_t tokens_per_item() const {
    return heads_per_kv_head >= kAttentionMaxRows ? 1 : kAttentionMaxRows / heads_per_kv_head;
  }
};

size_t AttentionScratchBytes(const AttentionShape& shape);

/// Some consecutive tokens of one sequence, some query heads of one KV head.
struct AttentionItem {
  AttentionShape shape;
  KVCacheLayer layer;
  const int32_t* block_ids;  // of the sequence
  uint32_t kv_head;
  float scale;
  float soft_cap;   // 0 for none
  uint32_t window;  // 0 for all positions
  const float* q;   // first token, first of these heads
  size_t q_stride;
  float* out;
  size_t out_stride;
  uint32_t first_position;
  uint32_t num_tokens;
};

/// Causal attention over the positions up to its own of each token, or the last `window` of them, read from
/// the cache. Positions are visited in tiles and splits that start at fixed multiples, and none that lies
/// outside a token's window touches its sums, so a token's result depends on its own context alone.
/// `scratch` is 64-byte aligned.
void AttentionBlock(const AttentionItem& item, float* scratch);

/// The same in parts, for several threads: AttentionSplit for each split of an item, in any order, then
/// MergeAttentionSplits once. The bits are those of AttentionBlock.
/// Splits that the item's tokens see: those of kSplitPositions from `first` on.
struct AttentionSplits {
  size_t first, count;
};
AttentionSplits SplitsOf(const AttentionItem& item);
/// Floats that hold one split's sums.
size_t SplitSumsFloats(const AttentionItem& item);
/// `split` counts from position 0. `sums` is 64-byte aligned.
void AttentionSplit(const AttentionItem& item, size_t split, float* sums, float* scratch);
/// `sums`: of all splits, in order.
void MergeAttentionSplits(const AttentionItem& item, const float* sums, float* scratch);

}  // namespace skein::cpu
