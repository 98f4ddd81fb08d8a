#pragma once

#include <atomic>
#include <vector>

#include "core/backend.h"
#include "core/thread_pool.h"
#include "cpu/attention.h"
#include "cpu/logit_stats.h"
#include "cpu/slot_rules.h"

namespace skein::cpu {

/// Splits each operation into work items and runs them on the device's threads.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const Program& program, ThreadPool* pool, const std::atomic<bool>& cancelled)
      : program_(program), pool_(*pool), cancelled_(cancelled) {}
  /// Allocates tables and scratch.
  Status Init();

  void BeginStep(const StepInput& input) override;
  void Embed(const Op& op, const WeightView& weight, const int32_t* ids, Matrix out) override;
  void RmsNorm(const Op& op, const float* weight, size_t norm_width, Matrix x, Matrix out) override;
  void Linear(Matrix x, std::span<const LinearPart> parts) override;
  void Rope(const Op& op, Matrix x, Matrix out) override;
  void Attention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix k, Matrix v, Matrix out) override;
  void SiluMul(Matrix gate, Matrix up, Matrix out) override;
  void GeluTanhMul(Matrix gate, Matrix up, Matrix out) override;
  void SoftCap(float cap, Matrix x) override;
  void Add(Matrix a, Matrix b, Matrix out) override;
  void GatherRows(Matrix x, const int32_t* row_token, Matrix out) override;
  Status Sample(Matrix logits, StepOutput* output) override;

 private:
  /// cos and sin of every token of the step, shared by all rope ops of the same frequencies.
  struct RopeTable {
    const Op* op;
    bool current = false;
    std::vector<float> cos, sin;  // [max_tokens, rotary_dim / 2]
  };
  struct QueryBlock {
    uint32_t sequence, first_token, num_tokens;
  };

  template <typename Body>
  void ForRows(size_t rows, size_t width, const Body& body);
  void FillRopeTable(RopeTable& table);
  void WriteKV(const KVCacheLayer& layer, const Matrix& x, uint32_t part);
  bool SampleRow(const Matrix& logits, uint32_t row, size_t thread, StepOutput* output);
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
  std::vector<RopeTable> rope_tables_;
  std::vector<size_t> rope_table_of_op_;
  std::vector<int32_t> top_ids_;
  std::vector<SlotRules> slot_rules_;
};

}  // namespace skein::cpu
