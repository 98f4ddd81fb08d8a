#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/backend.h"
#include "core/checked_math.h"
#include "core/thread_pool.h"
#include "cpu/attention.h"
#include "cpu/expert_dispatch.h"
#include "cpu/logit_stats.h"
#include "cpu/part_block.h"
#include "cpu/quantize_rows.h"
#include "cpu/row_draw.h"
#include "cpu/row_ops.h"
#include "cpu/slot_rules.h"

namespace skein::cpu {

/// Query heads of one item of latent attention, at most.
constexpr uint32_t kLatentHeadsMax = 16;

/// All heads share the one row of a position: its latent part and rope part are the key, its latent part is
/// the value.
inline AttentionShape LatentAttentionShape(const Op& op, KVCacheDtype dtype, uint32_t heads) {
  return {heads, op.latent.latent_dim + op.latent.rope_dim, op.latent.latent_dim,
          HasScales(dtype) ? op.latent.rope_dim : 0};
}

/// Splits each operation into work items and runs them on the device's threads.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const Program& program, ThreadPool* pool, const std::atomic<bool>& cancelled)
      : program_(program), pool_(*pool), cancelled_(cancelled) {}
  /// Allocates tables and scratch.
  Status Init();

  void BeginStep(const StepInput& input) override;
  void Flush() override;
  void Embed(const Op& op, const WeightView& weight, const int32_t* ids, Matrix out) override;
  void RmsNorm(const Op& op, const float* weight, size_t norm_width, Matrix x, Matrix out) override;
  void Linear(Matrix x, std::span<const LinearPart> parts) override;
  void GatedLinear(Matrix x, const GatedParts& parts, Matrix out) override;
  void Rope(const Op& op, Matrix x, Matrix out) override;
  void Attention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix k, Matrix v, Matrix out) override;
  void AbsorbKey(const Op& op, const WeightView& weight, Matrix q, Matrix out) override;
  void LatentAttention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix latent, Matrix key_rope,
                       Matrix out) override;
  void ExpandValue(const Op& op, const WeightView& weight, Matrix x, Matrix out) override;
  void SiluMul(Matrix gate, Matrix up, Matrix out) override;
  void GeluTanhMul(Matrix gate, Matrix up, Matrix out) override;
  void SoftCap(float cap, Matrix x) override;
  void Add(Matrix a, Matrix b, Matrix out) override;
  void Route(const Op& op, Matrix logits, const float* bias, Matrix out) override;
  Status Experts(const ExpertMixture& mixture, Matrix x, Matrix routes, Matrix out) override;
  void GatherRows(Matrix x, const int32_t* row_token, Matrix out) override;
  Status Sample(Matrix logits, StepOutput* output) override;
  Status SampleLogits(Matrix x, const SampledHead& head, StepOutput* output) override;

 private:
  /// Elements below which a row-wise operation is not worth a second thread's wake-up.
  static constexpr size_t kSerialElements = size_t{1} << 15;
  static constexpr size_t kChunkElements = size_t{1} << 14;
  /// Row operations that wait at once: more than lie between two others.
  static constexpr size_t kMaxDeferred = 16;
  /// cos and sin of every token of the step, shared by all rope ops of the same frequencies.
  struct RopeTable {
    const Op* op;
    bool current = false;
    std::vector<float> cos, sin;  // [max_tokens, rotary_dim / 2]
  };
  struct QueryBlock {
    uint32_t sequence, first_token, num_tokens;
  };

  /// body(first row, end row) over all rows, in chunks of a few thousand elements.
  template <typename Body>
  void ForRows(size_t rows, size_t width, const Body& body) {
    if (rows * width <= kSerialElements) {
      if (rows > 0) body(size_t{0}, rows);
      return;
    }
    const size_t chunk = std::max<size_t>(1, kChunkElements / width);
    pool_.Run(CeilDiv(rows, chunk), cancelled_,
              [&](size_t i, size_t) { body(i * chunk, std::min(rows, (i + 1) * chunk)); });
  }
  /// An attention op and what it reads and writes; `groups` items make up a token's heads.
  struct Attending {
    const AttentionShape& shape;
    const Op& op;
    const KVCacheLayer& layer;
    const Matrix& q;
    const Matrix& out;
    size_t groups;
  };
  struct SplitItem {
    const QueryBlock* block;
    size_t group;
    size_t sums;  // where in `split_sums_`, in floats
  };
  struct SplitUnit {
    uint32_t item, split;
  };
  Status InitAttention();
  AttentionItem ItemOf(const Attending& a, const QueryBlock& block, size_t group) const;
  bool AttendInSplits(const Attending& a);
  Status InitLinear();
  /// `x` as `weight` reads it, in `memory`; nothing where it reads floats.
  QuantizedRows Quantize(const Matrix& x, const WeightView& weight, std::byte* memory);
  /// Those of `parts` whose weight is chosen.
  template <typename Choose>
  void RunParts(const Matrix& x, const QuantizedRows& codes, std::span<const LinearPart> parts,
                const Choose& choose);
  /// Adds to what waits for Flush.
  void Defer(RowOp op, size_t rows);
  /// A block of a part's product, in the thread's room number `index`, 0 or 1, whose first element is the
  /// block's.
  Matrix BlockProduct(const Matrix& x, const QuantizedRows& codes, const LinearPart& part,
                      const PartGrid::Block& b, size_t thread, size_t index);
  Status InitExperts();
  /// Rows of this round's groups as their experts' `weight` reads them, in `memory`.
  QuantizedRows QuantizeForExperts(const Matrix& x, std::span<const ExpertWeights> experts,
                                   WeightView ExpertWeights::* weight, std::byte* memory);
  /// What the round's experts of this rank make of their tokens' rows, in their rows of `rows`.
  void ExpertRound(const ExpertMixture& mixture, const Matrix& rows);
  Matrix RoundRows(size_t width);
  /// Those of a mixture that ranks share.
  Status SpreadExperts(const ExpertMixture& mixture, const Matrix& x, const Matrix& routes,
                       const Matrix& out);
  Status SpreadRound(const ExpertMixture& mixture, const Matrix& x, const Matrix& routes, const Matrix& out);
  Status ExchangeRows(const ExpertMixture& mixture);
  template <typename Body>
  void ForExpertBlocks(const WeightView& weight, const Body& body);
  void FillRopeTable(RopeTable& table);
  /// Writes elements from `first` on of each head's rows in the cache.
  void WriteKV(const KVCacheLayer& layer, const Matrix& x, uint32_t part, size_t first);
  void Attend(const AttentionShape& shape, const Op& op, const KVCacheLayer& layer, const Matrix& q,
              const Matrix& out);
  uint32_t LatentHeadsPerItem(uint32_t num_heads) const;
  bool SampleRow(const Matrix& logits, uint32_t row, size_t thread, StepOutput* output);
  bool NeedsLogits(uint32_t row) const;
  template <typename Whole>
  Status ShareRows(const SampledHead& head, const Whole& whole);
  void InitSample();
  SampleParams ParamsOf(uint32_t row) const;
  template <typename Whole>
  Status SampleRows(const Matrix& logits, StepOutput* output, const Whole& whole);
  bool MergeRow(uint32_t row, StepOutput* output);
  RowDraw& RowDrawOf(uint32_t row, size_t thread) {
    return row_draws_[thread * program_.spec.limits.max_rows + row];
  }
  int32_t ChooseToken(const float* logits, const ArgMax& best, uint32_t row, size_t thread);
  int32_t ChooseRuledToken(const float* logits, uint32_t row, size_t thread);
  Status InstallRules();
  float* Scratch(size_t thread) {
    return reinterpret_cast<float*>(scratch_.data() + thread * scratch_bytes_);
  }

  const Program& program_;
  ThreadPool& pool_;
  const std::atomic<bool>& cancelled_;
  const StepInput* input_ = nullptr;

  MappedMemory scratch_;
  size_t scratch_bytes_ = 0;
  std::vector<uint32_t> token_sequence_;
  std::vector<uint32_t> token_position_;
  std::vector<QueryBlock> query_blocks_;
  std::vector<SplitItem> split_items_;
  std::vector<SplitUnit> split_units_;
  std::vector<std::atomic<uint32_t>> splits_left_;  // by item
  MappedMemory split_sums_;
  std::vector<RopeTable> rope_tables_;
  std::vector<size_t> rope_table_of_op_;
  std::vector<int32_t> top_ids_;
  std::vector<SlotRules> slot_rules_;

  std::vector<RowOp> deferred_;
  size_t deferred_rows_ = 0;
  MappedMemory linear_codes_, gated_codes_;
  /// Codes that GatedLinear left for the linear that reads `x`.
  struct {
    const float* x = nullptr;
    QuantizedRows codes;
  } ready_codes_;
  std::vector<RowDraw> row_draws_;  // [threads][max_rows], where a step samples
  /// Draws of this rank, and of all, where ranks share the head.
  std::vector<float> stored_draws_, gathered_draws_;
  std::vector<uint32_t> draw_widths_;
  ExpertDispatch expert_dispatch_;
  std::vector<const float*> expert_x_rows_;  // by token of the round
  std::vector<size_t> group_items_;
  MappedMemory expert_rows_, gate_codes_, up_codes_;
  float *expert_x_ = nullptr, *expert_gate_ = nullptr, *expert_up_ = nullptr;
  // Of experts that ranks share: what a round's exchanges send and receive, by rank, and room for it.
  std::vector<Matrix> expert_sends_, expert_receives_;
  MappedMemory spread_rows_;
  float *spread_sent_ = nullptr, *spread_received_ = nullptr, *spread_routes_ = nullptr;
  std::vector<size_t> spread_first_;      // by source: the first of its tokens in the round
  std::vector<const float*> spread_out_;  // by pair of the round: what an expert made of a token
};

}  // namespace skein::cpu
