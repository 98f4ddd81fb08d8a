#include <algorithm>

#include "transport/shm_channel.h"
#include "transport/shm_wait.h"

namespace skein::transport {
namespace {

/// Bytes are given back to the sender in pieces of this size, so that it writes while the receiver still
/// copies.
constexpr size_t kConsumeBytes = 128 * 1024;

size_t RoundUp(size_t size) { return (size + kShmBlock - 1) / kShmBlock * kShmBlock; }

}  // namespace

ShmReceiveChannel::~ShmReceiveChannel() { Fail("channel '" + name_ + "' was closed"); }

Status ShmReceiveChannel::WaitMessage(Deadline deadline) {
  const OperationGuard guard(running_);
  if (!guard.entered())
    return {Code::kInvalidArgument, "channel '" + name_ + "': another receive is running"};
  size_t available = 0;
  return WaitForBytes(kShmBlock, deadline, &available);
}

Status ShmReceiveChannel::Receive(uint64_t* step, void* data, size_t capacity, size_t* size,
                                  Deadline deadline) {
  const OperationGuard guard(running_);
  if (!guard.entered())
    return {Code::kInvalidArgument, "channel '" + name_ + "': another receive is running"};
  size_t available = 0;
  if (Status status = WaitForBytes(kShmBlock, deadline, &available); !status.ok()) return status;
  // Copied out before it is checked: the peer may write to the ring at any time.
  ShmRecord record{};
  ring_->Read(head_, &record, sizeof(record));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (record.magic != kShmRecordMagic || record.sequence != sequence_ || record.size > SIZE_MAX / 2)
    return Corrupt("a message's header");
  *step = record.step;
  *size = static_cast<size_t>(record.size);
  if (record.size > capacity) {
    const std::string message = "channel '" + name_ + "': a message of " + std::to_string(record.size) +
                                " bytes, room for " + std::to_string(capacity);
    Fail(message);
    return {Code::kInvalidArgument, message};
  }
  ++sequence_;
  head_ += kShmBlock;  // given back with the first payload piece
  const Status status = Read(record, static_cast<uint8_t*>(data), deadline);
  if (!status.ok()) {
    Fail("channel '" + name_ + "': a receive ended inside its message (" + status.message() + ")");
    return status;
  }
  bytes_.fetch_add(record.size, std::memory_order_relaxed);
  messages_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Status ShmReceiveChannel::Read(const ShmRecord& record, uint8_t* data, Deadline deadline) {
  const auto size = static_cast<size_t>(record.size);
  size_t done = 0;
  while (done < size) {
    size_t available = 0;
    Status problem;
    if (!LookForBytes(kShmBlock, &available, &problem)) {
      Consume(0);
      problem = WaitForBytes(kShmBlock, deadline, &available);
    }
    if (!problem.ok()) return problem;
    const size_t piece = std::min({RoundUp(size - done), available, kConsumeBytes});
    const size_t count = std::min(piece, size - done);
    ring_->Read(head_, data + done, count);
    done += count;
    Consume(piece);
  }
  if (size == 0) Consume(0);
  return Status::Ok();
}

Status ShmReceiveChannel::WaitForBytes(size_t need, Deadline deadline, size_t* available) {
  Status problem;
  const auto look = [&] { return LookForBytes(need, available, &problem); };
  if (!SpinThenSleep(&ring_->header().receiver_asleep, deadline, look))
    return {Code::kDeadline, "channel '" + name_ + "': nothing came until the deadline"};
  return problem;
}

bool ShmReceiveChannel::LookForBytes(size_t need, size_t* available, Status* problem) {
  ShmHeader& header = ring_->header();
  if (latch_.failed()) {
    *problem = latch_.status();
    return true;
  }
  // Read before the tail: what was sent before the close is still delivered.
  const bool closed = header.sender_closed.load(std::memory_order_acquire) != 0;
  const uint64_t tail = header.tail.load(std::memory_order_acquire);
  if (tail < tail_seen_ || tail < head_ || tail - head_ > ring_->capacity() || tail % kShmBlock != 0) {
    *problem = Corrupt("tail " + std::to_string(tail) + " of head " + std::to_string(head_));
    return true;
  }
  tail_seen_ = tail;
  *available = static_cast<size_t>(tail - head_);
  if (*available >= need) return true;
  if (closed) *problem = {Code::kPeerLost, "channel '" + name_ + "': the sending side closed it"};
  return closed;
}

void ShmReceiveChannel::Consume(size_t size) {
  head_ += size;
  ring_->header().head.store(head_, std::memory_order_release);
  WakeSleeper(&ring_->header().sender_asleep);
}

Status ShmReceiveChannel::Corrupt(const std::string& what) {
  const Status status(Code::kPeerLost, "channel '" + name_ + "' is corrupt: " + what);
  Fail(status.message());
  return status;
}

void ShmReceiveChannel::Fail(const std::string& reason) {
  ShmHeader& header = ring_->header();
  latch_.Set(Code::kPeerLost, reason);
  header.receiver_closed.store(1, std::memory_order_release);
  WakeSleeper(&header.sender_asleep);
  WakeSleeper(&header.receiver_asleep);
}

ChannelCounters ShmReceiveChannel::counters() const {
  return {"shm", bytes_.load(std::memory_order_relaxed), messages_.load(std::memory_order_relaxed)};
}

}  // namespace skein::transport
