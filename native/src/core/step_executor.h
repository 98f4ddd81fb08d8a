#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/communicator.h"
#include "core/expert_counts.h"
#include "core/peer_channels.h"

namespace skein {

struct StepResult {
  std::vector<int32_t> words;
  uint64_t compute_us = 0;
  uint64_t wait_us = 0;
};

/// Executes the ops of one program, step by step, on the caller's thread. Owns the arena and the feedback
/// slots.
class StepExecutor {
 public:
  /// The references must outlive the executor. Weights must be loaded before Run.
  StepExecutor(const Program& program, const WeightStore& weights, const KVCache& cache,
               const std::atomic<bool>& cancelled)
      : program_(program), weights_(weights), cache_(cache), cancelled_(cancelled), channels_(cancelled) {}

  Status Init(Device& device);
  /// One step. `words` are the packed input. After a failure the cache rows of this step are undefined.
  Status Run(std::span<const int32_t> words, Deadline deadline, StepResult* result);
  void ResetFeedback();
  /// Whether steps keep the logits of all rows, for CopyLogits. Thread-safe; for steps that begin later.
  void KeepLogits(bool keep) { keep_logits_.store(keep); }
  /// Copy of the last finished step's logits [num_rows, vocab]; false when it kept none. Not while Run runs.
  bool CopyLogits(std::vector<float>* out) const;
  /// Of every `experts` op with a layer, in their order. Thread-safe; a running step may be in them in part.
  std::vector<ExpertLoad> ExpertLoads() const;

  PeerChannels& channels() { return channels_; }

 private:
  Status RunGroup(size_t index);
  Status RunOp(const Op& op);
  Status Embed(const Op& op);
  LinearPart PartOf(const Op& op) const;
  void Linears(const OpGroup& group);
  void Gated(size_t index);
  Status Sample(const OpGroup& group);
  void StoreSampled();
  Status Experts(const Op& op);
  Status Send(const Op& op);
  Status Receive(const Op& op);
  Status SendTokens(const Op& op);
  Status ReceiveTokens(const Op& op);
  Status StoreTokens(std::span<const int32_t> pairs);
  Communicator& GroupOf(const Op& op) const;
  Status AllGather(const Op& op);
  Status AllReduce(const Op& op);
  Matrix At(int64_t id) const;

  const Program& program_;
  const WeightStore& weights_;
  const KVCache& cache_;
  const std::atomic<bool>& cancelled_;
  std::unique_ptr<Backend> backend_;
  MappedMemory arena_;

  StepInput input_;
  StepOutput output_;
  std::atomic<bool> keep_logits_{false};
  bool keeps_logits_ = false;
  bool has_logits_ = false;
  uint32_t logit_rows_ = 0;

  std::vector<int32_t> resolved_ids_;
  std::vector<int32_t> message_;
  std::vector<float> columns_;  // of a value, as they are sent
  std::vector<LinearPart> parts_;
  std::vector<ExpertWeights> experts_;
  std::vector<ExpertCounts> expert_counts_;  // by index of the op; without any where none are counted
  std::vector<int32_t> slots_;
  int64_t feedback_reached_ = -1;

  PeerChannels channels_;
  std::vector<std::unique_ptr<Communicator>> communicators_;  // by index in spec.groups
};

}  // namespace skein
