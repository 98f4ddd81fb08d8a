#include <cstring>

#include "core/step_executor.h"

// The ops of StepExecutor that cross to other ranks.
namespace skein {
namespace {

Status Mismatch(const Op& op, const char* what, int64_t got, int64_t want) {
  return {Code::kInternal, "peer '" + op.peer + "' of " + OpName(op.kind) + " sent " + what + " " +
                               std::to_string(got) + ", expected " + std::to_string(want)};
}

}  // namespace

Status StepExecutor::Send(const Op& op) {
  const Matrix x = At(op.inputs[0]).Columns(op.first_col, op.width);
  const float* data = x.data;
  if (x.width != x.stride) {
    for (size_t r = 0; r < x.rows; ++r)
      std::memcpy(columns_.data() + r * x.width, x.data + r * x.stride, x.width * sizeof(float));
    data = columns_.data();
  }
  return channels_.Send(op.peer, static_cast<uint64_t>(input_.step), data, x.elements() * sizeof(float));
}

Status StepExecutor::SendTokens(const Op& op) {
  size_t words = 0;
  for (uint32_t r = 0; r < input_.num_rows; ++r) {
    if (input_.row_target[r] >= 0 || input_.row_slot[r] < 0) continue;
    message_[words++] = input_.row_slot[r];
    message_[words++] = output_.token(r);
  }
  return channels_.Send(op.peer, static_cast<uint64_t>(input_.step), message_.data(),
                        words * sizeof(int32_t));
}

Status StepExecutor::Receive(const Op& op) {
  const Matrix out = At(op.out);
  const size_t want = out.elements() * sizeof(float);
  uint64_t step = 0;
  size_t size = 0;
  if (Status s = channels_.Receive(op.peer, &step, out.data, want, &size); !s.ok()) return s;
  if (step != static_cast<uint64_t>(input_.step)) {
    return Mismatch(op, "step", static_cast<int64_t>(step), input_.step);
  }
  if (size != want) return Mismatch(op, "bytes", static_cast<int64_t>(size), static_cast<int64_t>(want));
  return Status::Ok();
}

Status StepExecutor::ReceiveTokens(const Op& op) {
  while (feedback_reached_ < input_.feedback_step) {
    uint64_t step = 0;
    size_t size = 0;
    if (Status s =
            channels_.Receive(op.peer, &step, message_.data(), message_.size() * sizeof(int32_t), &size);
        !s.ok()) {
      return s;
    }
    const auto number = static_cast<int64_t>(step);
    if (number <= feedback_reached_ || number > input_.feedback_step) {
      return Mismatch(op, "tokens of step", number, input_.feedback_step);
    }
    if (size % (2 * sizeof(int32_t)) != 0)
      return Mismatch(op, "bytes of pairs", static_cast<int64_t>(size), 8);
    if (Status s = StoreTokens({message_.data(), size / sizeof(int32_t)}); !s.ok()) return s;
    feedback_reached_ = number;
  }
  return Status::Ok();
}

Status StepExecutor::StoreTokens(std::span<const int32_t> pairs) {
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const int32_t slot = pairs[i], id = pairs[i + 1];
    if (slot < 0 || static_cast<size_t>(slot) >= slots_.size() || id < 0 ||
        static_cast<uint32_t>(id) >= program_.spec.vocab_size) {
      return {Code::kInternal, "a peer sent token " + std::to_string(id) + " for feedback slot " +
                                   std::to_string(slot) + ", slots are below " +
                                   std::to_string(slots_.size()) + " and ids below " +
                                   std::to_string(program_.spec.vocab_size)};
    }
    slots_[static_cast<size_t>(slot)] = id;
  }
  return Status::Ok();
}

Communicator& StepExecutor::GroupOf(const Op& op) const {
  // As checked, it is one of the few.
  size_t i = 0;
  while (program_.spec.groups[i].name != op.group) ++i;
  return *communicators_[i];
}

Status StepExecutor::AllGather(const Op& op) {
  backend_->Flush();
  return GroupOf(op).AllGather(OpName(op.kind), At(op.inputs[0]), op.widths, At(op.out));
}

Status StepExecutor::AllReduce(const Op& op) {
  backend_->Flush();
  const Matrix out = At(op.out);
  if (Status s = GroupOf(op).AllReduce(OpName(op.kind), At(op.inputs[0]), op.reduction, out); !s.ok())
    return s;
  if (op.bias >= 0) {
    // One row for all.
    auto* bias = const_cast<float*>(weights_.vector(op.bias).data());
    backend_->Add(out, {bias, out.rows, out.width, 0}, out);
  }
  return Status::Ok();
}

}  // namespace skein
