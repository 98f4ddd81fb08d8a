#include <algorithm>

#include "core/step_executor.h"

// The ops of StepExecutor that cross to other ranks.
namespace skein {
namespace {

/// How often a waiting receive looks at the abort flag.
constexpr auto kAbortPoll = std::chrono::milliseconds(20);

Status NotBound(const Op& op) {
  return {Code::kPeerLost, "peer '" + op.peer + "' of " + OpName(op.kind) + " is not bound to a channel"};
}

Status Mismatch(const Op& op, const char* what, int64_t got, int64_t want) {
  return {Code::kInternal, "peer '" + op.peer + "' of " + OpName(op.kind) + " sent " + what + " " +
                               std::to_string(got) + ", expected " + std::to_string(want)};
}

}  // namespace

Status StepExecutor::Send(const Op& op) {
  const Matrix x = At(op.inputs[0]);
  return SendMessage(op, x.data, x.rows * x.width * sizeof(float));
}

Status StepExecutor::SendTokens(const Op& op) {
  size_t words = 0;
  for (uint32_t r = 0; r < input_.num_rows; ++r) {
    if (input_.row_target[r] >= 0 || input_.row_slot[r] < 0) continue;
    message_[words++] = input_.row_slot[r];
    message_[words++] = output_.token(r);
  }
  return SendMessage(op, message_.data(), words * sizeof(int32_t));
}

Status StepExecutor::SendMessage(const Op& op, const void* data, size_t size) {
  std::shared_ptr<SendChannel> channel;
  {
    std::lock_guard lock(channels_mutex_);
    // Under the lock: either InterruptSend sees the channel, or this sees the flag set before it.
    if (cancelled_.load()) return {Code::kAborted, "the step was aborted"};
    if (const auto it = sends_.find(op.peer); it != sends_.end()) channel = it->second;
    sending_ = channel;
  }
  if (channel == nullptr) return NotBound(op);
  const Status status = channel->Send(static_cast<uint64_t>(input_.step), data, size, deadline_);
  std::lock_guard lock(channels_mutex_);
  sending_ = nullptr;
  return status;
}

void StepExecutor::InterruptSend(const std::string& reason) {
  std::lock_guard lock(channels_mutex_);
  if (sending_ != nullptr) sending_->Fail(reason);
}

Status StepExecutor::ReceiveMessage(const Op& op, void* data, size_t capacity, uint64_t* step, size_t* size) {
  std::shared_ptr<ReceiveChannel> channel;
  {
    std::lock_guard lock(channels_mutex_);
    if (const auto it = receives_.find(op.peer); it != receives_.end()) channel = it->second;
  }
  if (channel == nullptr) return NotBound(op);
  const auto start = Clock::now();
  Status status;
  do {
    if (cancelled_.load(std::memory_order_relaxed)) {
      status = {Code::kAborted, "the step was aborted"};
      break;
    }
    status = channel->WaitMessage(std::min(deadline_, Clock::now() + kAbortPoll));
  } while (status.code() == Code::kDeadline && Clock::now() < deadline_);
  if (status.ok()) status = channel->Receive(step, data, capacity, size, deadline_);
  wait_us_ += static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
  return status;
}

Status StepExecutor::Receive(const Op& op) {
  const Matrix out = At(op.out);
  const size_t want = out.rows * out.width * sizeof(float);
  uint64_t step = 0;
  size_t size = 0;
  if (Status s = ReceiveMessage(op, out.data, want, &step, &size); !s.ok()) return s;
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
    if (Status s = ReceiveMessage(op, message_.data(), message_.size() * sizeof(int32_t), &step, &size);
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

}  // namespace skein
