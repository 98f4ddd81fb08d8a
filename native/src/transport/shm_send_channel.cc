#include <algorithm>

#include "transport/shm_channel.h"
#include "transport/shm_wait.h"

namespace skein::transport {
namespace {

/// Longer messages are published in pieces of this size, so that the receiver copies while the sender still
/// does.
constexpr size_t kPublishBytes = 128 * 1024;

size_t RoundUp(size_t size) { return (size + kShmBlock - 1) / kShmBlock * kShmBlock; }

}  // namespace

ShmSendChannel::~ShmSendChannel() { Fail("channel '" + name_ + "' was closed"); }

Status ShmSendChannel::Send(uint64_t step, const void* data, size_t size, Deadline deadline) {
  const OperationGuard guard(running_);
  if (!guard.entered()) return {Code::kInvalidArgument, "channel '" + name_ + "': another send is running"};
  if (size > SIZE_MAX / 2)
    return {Code::kInvalidArgument,
            "channel '" + name_ + "': a message of " + std::to_string(size) + " bytes"};
  size_t space = 0;
  // Until a block is free nothing has been written, so a deadline here leaves the channel usable.
  if (Status status = WaitForSpace(kShmBlock, deadline, &space); !status.ok()) return status;
  const Status status = Write(step, static_cast<const uint8_t*>(data), size, deadline);
  if (!status.ok()) {
    Fail("channel '" + name_ + "': a send ended inside its message (" + status.message() + ")");
    return status;
  }
  bytes_.fetch_add(size, std::memory_order_relaxed);
  messages_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Status ShmSendChannel::Write(uint64_t step, const uint8_t* data, size_t size, Deadline deadline) {
  const ShmRecord record{kShmRecordMagic, sequence_++, step, size};
  ring_->Write(tail_, &record, sizeof(record));
  tail_ += kShmBlock;
  size_t done = 0;
  while (done < size) {
    const size_t left = RoundUp(size - done);
    size_t space = 0;
    bool ready = false;
    Status problem;
    if (ready = LookForSpace(kShmBlock, &space, &problem); !ready) {
      Publish();
      problem = WaitForSpace(std::min(left, ring_->capacity() / 4), deadline, &space);
    }
    if (!problem.ok()) return problem;
    const size_t piece = std::min({left, space, kPublishBytes});
    ring_->Write(tail_, data + done, std::min(piece, size - done));
    tail_ += piece;
    done += std::min(piece, size - done);
    if (done < size) Publish();
  }
  Publish();
  return Status::Ok();
}

Status ShmSendChannel::WaitForSpace(size_t need, Deadline deadline, size_t* space) {
  Status problem;
  const auto look = [&] { return LookForSpace(need, space, &problem); };
  if (!SpinThenSleep(&ring_->header().sender_asleep, deadline, look))
    return {Code::kDeadline, "channel '" + name_ + "': the receiver took nothing until the deadline"};
  return problem;
}

bool ShmSendChannel::LookForSpace(size_t need, size_t* space, Status* problem) {
  ShmHeader& header = ring_->header();
  if (latch_.failed()) {
    *problem = latch_.status();
    return true;
  }
  if (header.receiver_closed.load(std::memory_order_acquire) != 0) {
    *problem = {Code::kPeerLost, "channel '" + name_ + "': the receiving side closed it"};
    return true;
  }
  const uint64_t head = header.head.load(std::memory_order_acquire);
  // The head moves forward, in blocks, and never past what was written: else `space` would overrun unread
  // bytes.
  if (head < head_seen_ || head > tail_ || head % kShmBlock != 0) {
    *problem = {Code::kPeerLost, "channel '" + name_ + "' is corrupt: head " + std::to_string(head) +
                                     " of tail " + std::to_string(tail_)};
    Fail(problem->message());
    return true;
  }
  head_seen_ = head;
  *space = ring_->capacity() - static_cast<size_t>(tail_ - head);
  return *space >= need;
}

void ShmSendChannel::Publish() {
  ring_->header().tail.store(tail_, std::memory_order_release);
  WakeSleeper(&ring_->header().receiver_asleep);
}

void ShmSendChannel::Fail(const std::string& reason) {
  ShmHeader& header = ring_->header();
  latch_.Set(Code::kPeerLost, reason);
  header.sender_closed.store(1, std::memory_order_release);
  WakeSleeper(&header.receiver_asleep);
  WakeSleeper(&header.sender_asleep);
}

ChannelCounters ShmSendChannel::counters() const {
  return {"shm", bytes_.load(std::memory_order_relaxed), messages_.load(std::memory_order_relaxed)};
}

}  // namespace skein::transport
