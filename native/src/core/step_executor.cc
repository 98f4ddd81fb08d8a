#include "core/step_executor.h"

#include <algorithm>
#include <cstring>

#include "core/channel_communicator.h"

namespace skein {
namespace {

uint64_t MicrosSince(Clock::time_point start) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

Status Aborted() { return {Code::kAborted, "the step was aborted"}; }

}  // namespace

Status StepExecutor::Init(Device& device) {
  if (Status s = MappedMemory::Allocate(program_.arena_bytes, &arena_); !s.ok()) return s;
  const ProgramLimits& limits = program_.spec.limits;
  resolved_ids_.resize(limits.max_tokens);
  message_.resize(size_t{2} * limits.max_rows);
  parts_.reserve(program_.spec.ops.size());
  size_t max_experts = 0;
  size_t sent = 0;
  for (const Op& op : program_.spec.ops) {
    max_experts = std::max(max_experts, op.experts.size());
    expert_counts_.emplace_back(op.layer < 0 ? 0 : op.experts.size());
    const bool part = op.kind == OpKind::kSend &&
                      op.width < program_.values[static_cast<size_t>(op.inputs[0])].width;
    if (part) sent = std::max<size_t>(sent, op.width);
  }
  columns_.resize(limits.max_tokens * sent);
  experts_.reserve(max_experts);
  for (const RankGroup& group : program_.spec.groups) {
    if (Status s = ChannelCommunicator::Create(group, &channels_, &communicators_.emplace_back()); !s.ok())
      return s;
  }
  ResetFeedback();
  return device.CreateBackend(program_, cancelled_, &backend_);
}

void StepExecutor::ResetFeedback() {
  slots_.assign(program_.spec.limits.num_slots, -1);
  feedback_reached_ = -1;
}

Status StepExecutor::Run(std::span<const int32_t> words, Deadline deadline, StepResult* result) {
  const auto start = Clock::now();
  if (Status s = ParseStepInput(words, program_.spec, &input_); !s.ok()) return s;
  channels_.BeginStep(deadline);
  for (const auto& communicator : communicators_) communicator->BeginStep(static_cast<uint64_t>(input_.step));
  has_logits_ = false;
  if (program_.samples) {
    output_.Resize(input_.num_rows, input_.max_logprobs);
  } else {
    output_.words().clear();
  }
  backend_->BeginStep(input_);
  keeps_logits_ = keep_logits_.load();
  for (size_t i = 0; i < program_.groups.size(); ++i) {
    if (cancelled_.load(std::memory_order_relaxed)) return Aborted();
    if (Status s = RunGroup(i); !s.ok()) return s;
  }
  backend_->Flush();
  if (cancelled_.load(std::memory_order_relaxed)) return Aborted();
  has_logits_ = program_.logits >= 0 && keeps_logits_;
  logit_rows_ = input_.num_rows;
  result->words = output_.words();
  result->wait_us = channels_.wait_us();
  const uint64_t total = MicrosSince(start);
  result->compute_us = total - std::min(total, result->wait_us);
  return Status::Ok();
}

Matrix StepExecutor::At(int64_t id) const {
  const Value& value = program_.values[static_cast<size_t>(id)];
  auto* data = reinterpret_cast<float*>(const_cast<std::byte*>(arena_.data()) + value.offset);
  const size_t rows = value.rows == RowKind::kToken ? input_.num_tokens : input_.num_rows;
  return {data, rows, value.width, value.stride};
}

Status StepExecutor::RunGroup(size_t index) {
  const OpGroup& group = program_.groups[index];
  switch (group.fusion) {
    case Fusion::kLinears:
      Linears(group);
      return Status::Ok();
    case Fusion::kGated:
      Gated(index);
      return Status::Ok();
    case Fusion::kSample:
      return Sample(group);
    case Fusion::kNone:
    case Fusion::kRows:
      break;
  }
  for (size_t i = group.begin; i < group.end; ++i)
    if (Status s = RunOp(program_.spec.ops[i]); !s.ok()) return s;
  return Status::Ok();
}

Status StepExecutor::RunOp(const Op& op) {
  switch (op.kind) {
    case OpKind::kEmbed:
      return Embed(op);
    case OpKind::kRmsNorm:
      backend_->RmsNorm(op, weights_.vector(op.weight).data(), weights_.vector(op.weight).size(),
                        At(op.inputs[0]), At(op.out));
      break;
    case OpKind::kLinear:
    case OpKind::kLogits:
      break;  // always in a group of their own
    case OpKind::kRope:
      backend_->Rope(op, At(op.inputs[0]), At(op.out));
      break;
    case OpKind::kAttention:
      backend_->Attention(op, cache_.layer(op.cache_layer), At(op.inputs[0]), At(op.inputs[1]),
                          At(op.inputs[2]), At(op.out));
      break;
    case OpKind::kAbsorbKey:
      backend_->AbsorbKey(op, weights_.rows(op.weight), At(op.inputs[0]), At(op.out));
      break;
    case OpKind::kLatentAttention:
      backend_->LatentAttention(op, cache_.layer(op.cache_layer), At(op.inputs[0]), At(op.inputs[1]),
                                At(op.inputs[2]), At(op.out));
      break;
    case OpKind::kExpandValue:
      backend_->ExpandValue(op, weights_.values(op.weight), At(op.inputs[0]), At(op.out));
      break;
    case OpKind::kSiluMul:
      backend_->SiluMul(At(op.inputs[0]), At(op.inputs[1]), At(op.out));
      break;
    case OpKind::kGeluTanhMul:
      backend_->GeluTanhMul(At(op.inputs[0]), At(op.inputs[1]), At(op.out));
      break;
    case OpKind::kAdd:
      backend_->Add(At(op.inputs[0]), At(op.inputs[1]), At(op.out));
      break;
    case OpKind::kRoute:
      backend_->Route(op, At(op.inputs[0]), op.bias >= 0 ? weights_.vector(op.bias).data() : nullptr,
                      At(op.out));
      break;
    case OpKind::kExperts:
      return Experts(op);
    case OpKind::kGatherRows:
      backend_->GatherRows(At(op.inputs[0]), input_.row_token, At(op.out));
      break;
    case OpKind::kSample:
      if (Status s = backend_->Sample(At(op.inputs[0]), &output_); !s.ok()) return s;
      StoreSampled();
      break;
    case OpKind::kAllGather:
      return AllGather(op);
    case OpKind::kAllReduce:
      return AllReduce(op);
    case OpKind::kSend:
      backend_->Flush();
      return Send(op);
    case OpKind::kRecv:
      // What waits may read memory that the message goes to.
      backend_->Flush();
      return Receive(op);
    case OpKind::kSendTokens:
      return SendTokens(op);
    case OpKind::kRecvTokens:
      return ReceiveTokens(op);
  }
  return Status::Ok();
}

LinearPart StepExecutor::PartOf(const Op& op) const {
  return {weights_.panels(op.weight), op.bias >= 0 ? weights_.vector(op.bias).data() : nullptr, At(op.out)};
}

void StepExecutor::Linears(const OpGroup& group) {
  const std::vector<Op>& ops = program_.spec.ops;
  parts_.clear();
  for (size_t i = group.begin; i < group.end; ++i) parts_.push_back(PartOf(ops[i]));
  backend_->Linear(At(ops[group.begin].inputs[0]), parts_);
  for (size_t i = group.begin; i < group.end; ++i) {
    if (ops[i].soft_cap > 0) backend_->SoftCap(ops[i].soft_cap, At(ops[i].out));
  }
}

void StepExecutor::Gated(size_t index) {
  const std::vector<Op>& ops = program_.spec.ops;
  const OpGroup& group = program_.groups[index];
  const Op &gate = ops[group.begin], &product = ops[group.end - 1];
  GatedParts parts{PartOf(gate), PartOf(ops[group.begin + 1]), product.kind};
  if (index + 1 < program_.groups.size()) {
    const OpGroup& next = program_.groups[index + 1];
    const Op& op = ops[next.begin];
    const bool only = next.fusion == Fusion::kLinears && next.end == next.begin + 1 &&
                      op.inputs[0] == product.out &&
                      program_.values[static_cast<size_t>(product.out)].last_op == next.begin;
    if (only) parts.reader = &weights_.panels(op.weight);
  }
  backend_->GatedLinear(At(gate.inputs[0]), parts, At(product.out));
}

Status StepExecutor::Sample(const OpGroup& group) {
  const Op &op = program_.spec.ops[group.begin], &next = program_.spec.ops[group.begin + 1];
  SampledHead head{PartOf(op), op.soft_cap, keeps_logits_};
  if (next.kind == OpKind::kAllGather) {
    head.ranks = &GroupOf(next);
    head.widths = next.widths;
    head.logits = At(next.out);
    head.part.out =
        head.logits.Columns(ColumnsBefore(next.widths, head.ranks->rank()), head.part.weight.rows);
  }
  if (Status s = backend_->SampleLogits(At(op.inputs[0]), head, &output_); !s.ok()) return s;
  StoreSampled();
  return Status::Ok();
}

void StepExecutor::StoreSampled() {
  for (uint32_t r = 0; r < input_.num_rows; ++r) {
    if (input_.row_target[r] < 0 && input_.row_slot[r] >= 0)
      slots_[static_cast<size_t>(input_.row_slot[r])] = output_.token(r);
  }
}

Status StepExecutor::Experts(const Op& op) {
  experts_.clear();
  for (const ExpertWeightIds& e : op.experts)
    experts_.push_back({e.id, weights_.panels(e.gate), weights_.panels(e.up), weights_.panels(e.down)});
  ExpertMixture mixture{experts_, op.group.empty() ? nullptr : &GroupOf(op), op.owners};
  if (op.num_sources() > 1) {
    mixture.sources = op.sources;
    mixture.source_tokens = {input_.source_tokens, input_.num_sources};
  }
  if (op.layer >= 0) mixture.counts = &expert_counts_[static_cast<size_t>(&op - program_.spec.ops.data())];
  return backend_->Experts(mixture, At(op.inputs[0]), At(op.inputs[1]), At(op.out));
}

Status StepExecutor::Embed(const Op& op) {
  const WeightView& weight = weights_.panels(op.weight);
  for (uint32_t t = 0; t < input_.num_tokens; ++t) {
    int32_t id = input_.token_ids[t];
    if (id < 0) {
      const int32_t slot = -1 - id;
      id = slots_[static_cast<size_t>(slot)];
      if (id < 0) {
        return {Code::kStepInput, "tokenIds[" + std::to_string(t) + "] reads feedback slot " +
                                      std::to_string(slot) + ", which holds no token"};
      }
    }
    const int64_t row = int64_t{id} - op.first_id;
    const bool here = row >= 0 && static_cast<size_t>(row) < weight.rows;
    resolved_ids_[t] = here ? static_cast<int32_t>(row) : -1;
  }
  backend_->Embed(op, weight, resolved_ids_.data(), At(op.out));
  return Status::Ok();
}

std::vector<ExpertLoad> StepExecutor::ExpertLoads() const {
  std::vector<ExpertLoad> loads;
  for (size_t i = 0; i < program_.spec.ops.size(); ++i) {
    const Op& op = program_.spec.ops[i];
    if (op.kind != OpKind::kExperts || op.layer < 0) continue;
    ExpertLoad& load = loads.emplace_back();
    load.layer = static_cast<uint32_t>(op.layer);
    for (size_t e = 0; e < op.experts.size(); ++e) {
      load.ids.push_back(op.experts[e].id);
      load.tokens.push_back(expert_counts_[i][e]);
    }
  }
  return loads;
}

bool StepExecutor::CopyLogits(std::vector<float>* out) const {
  if (!has_logits_) return false;
  const Value& value = program_.values[static_cast<size_t>(program_.logits)];
  out->resize(logit_rows_ * value.width);
  for (size_t r = 0; r < logit_rows_; ++r) {
    std::memcpy(out->data() + r * value.width, At(program_.logits).data + r * value.stride,
                value.width * sizeof(float));
  }
  return true;
}

}  // namespace skein
