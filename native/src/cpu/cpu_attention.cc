#include <algorithm>

#include "cpu/cpu_backend.h"

namespace skein::cpu {
namespace {

/// Below this many work items per thread, long contexts are split over threads.
constexpr size_t kItemsPerThread = 16;
/// Bound of what splits in flight keep of their sums. Contexts that would need more are not split.
constexpr size_t kSplitSumsBytes = size_t{64} << 20;

}  // namespace

Status CpuBackend::InitAttention() {
  const ProgramLimits& limits = program_.spec.limits;
  query_blocks_.reserve(limits.max_tokens);
  bool attends = false;
  for (const Op& op : program_.spec.ops) {
    if (op.kind == OpKind::kAttention) {
      const AttentionShape shape{op.num_heads / op.num_kv_heads, op.head_dim, op.head_dim};
      scratch_bytes_ = std::max(scratch_bytes_, AttentionScratchBytes(shape));
    } else if (op.kind == OpKind::kLatentAttention) {
      for (uint32_t heads = 1; heads <= kLatentHeadsMax; ++heads)
        scratch_bytes_ =
            std::max(scratch_bytes_,
                     AttentionScratchBytes(LatentAttentionShape(op, program_.spec.kv_cache.dtype, heads)));
    } else {
      continue;
    }
    attends = true;
  }
  if (!attends || pool_.threads() == 1 || limits.max_model_len <= kSplitPositions) return Status::Ok();
  const size_t items = kItemsPerThread * pool_.threads();
  split_items_.reserve(items);
  split_units_.reserve(items * CeilDiv(limits.max_model_len, kSplitPositions));
  splits_left_ = std::vector<std::atomic<uint32_t>>(items);
  // Pages that no step needs are never touched.
  return MappedMemory::Allocate(kSplitSumsBytes, &split_sums_);
}

void CpuBackend::WriteKV(const KVCacheLayer& layer, const Matrix& x, uint32_t part, size_t first) {
  Defer(CacheRow{&layer, part, first, input_, token_sequence_.data(), token_position_.data(), x}, x.rows);
}

void CpuBackend::Attention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix k, Matrix v,
                           Matrix out) {
  WriteKV(layer, k, 0, 0);
  WriteKV(layer, v, layer.value_part(), 0);
  Attend({op.num_heads / op.num_kv_heads, op.head_dim, op.head_dim}, op, layer, q, out);
}

AttentionItem CpuBackend::ItemOf(const Attending& a, const QueryBlock& block, size_t group) const {
  const size_t groups_per_kv_head = a.groups / a.layer.num_kv_heads;
  const size_t first_head = group * a.shape.heads_per_kv_head;
  return {.shape = a.shape,
          .layer = a.layer,
          .block_ids = input_->block_ids + input_->block_start[block.sequence],
          .kv_head = static_cast<uint32_t>(group / groups_per_kv_head),
          .scale = a.op.scale,
          .soft_cap = a.op.soft_cap,
          .window = a.op.window,
          .q = a.q.data + block.first_token * a.q.stride + first_head * a.shape.head_dim,
          .q_stride = a.q.stride,
          .out = a.out.data + block.first_token * a.out.stride + first_head * a.shape.value_dim,
          .out_stride = a.out.stride,
          .first_position = token_position_[block.first_token],
          .num_tokens = block.num_tokens};
}

void CpuBackend::Attend(const AttentionShape& shape, const Op& op, const KVCacheLayer& layer, const Matrix& q,
                        const Matrix& out) {
  Flush();
  const Attending a{shape, op, layer, q, out, op.num_heads / shape.heads_per_kv_head};
  const auto step = static_cast<uint32_t>(shape.tokens_per_item());
  query_blocks_.clear();
  for (uint32_t s = 0; s < input_->num_seqs; ++s) {
    const auto begin = static_cast<uint32_t>(input_->query_start[s]);
    const auto end = static_cast<uint32_t>(input_->query_start[s + 1]);
    for (uint32_t t = begin; t < end; t += step) query_blocks_.push_back({s, t, std::min(step, end - t)});
  }
  if (AttendInSplits(a)) return;
  pool_.Run(query_blocks_.size() * a.groups, cancelled_, [&](size_t item, size_t thread) {
    // Last blocks first: they see the longest context.
    const QueryBlock& block = query_blocks_[query_blocks_.size() - 1 - item / a.groups];
    AttentionBlock(ItemOf(a, block, item % a.groups), Scratch(thread));
  });
}

/// With few items, their splits are the work items, so that one long sequence keeps all threads busy. Whoever
/// ends an item's last split merges them.
bool CpuBackend::AttendInSplits(const Attending& a) {
  if (split_sums_.data() == nullptr || query_blocks_.size() * a.groups > splits_left_.size()) return false;
  split_items_.clear();
  split_units_.clear();
  size_t floats = 0;
  for (const QueryBlock& block : query_blocks_) {
    const AttentionItem first = ItemOf(a, block, 0);
    const AttentionSplits splits = SplitsOf(first);
    for (size_t group = 0; group < a.groups; ++group) {
      const auto item = static_cast<uint32_t>(split_items_.size());
      split_items_.push_back({&block, group, floats});
      splits_left_[item].store(static_cast<uint32_t>(splits.count), std::memory_order_relaxed);
      for (size_t i = 0; i < splits.count; ++i)
        split_units_.push_back({item, static_cast<uint32_t>(splits.first + i)});
      floats += splits.count * SplitSumsFloats(first);
    }
  }
  if (split_units_.size() == split_items_.size() || floats * sizeof(float) > kSplitSumsBytes) return false;
  pool_.Run(split_units_.size(), cancelled_, [&](size_t at, size_t thread) {
    const auto [index, split] = split_units_[at];
    const SplitItem& of = split_items_[index];
    const AttentionItem item = ItemOf(a, *of.block, of.group);
    float* sums = reinterpret_cast<float*>(split_sums_.data()) + of.sums;
    AttentionSplit(item, split, sums + (split - SplitsOf(item).first) * SplitSumsFloats(item),
                   Scratch(thread));
    if (splits_left_[index].fetch_sub(1, std::memory_order_acq_rel) == 1)
      MergeAttentionSplits(item, sums, Scratch(thread));
  });
  return true;
}

}  // namespace skein::cpu
