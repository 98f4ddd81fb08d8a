#include "core/peer_channels.h"

#include <algorithm>
#include <utility>

namespace skein {
namespace {

/// How often a waiting receive looks at the abort flag.
constexpr auto kAbortPoll = std::chrono::milliseconds(20);

Status NotBound(const std::string& peer) {
  return {Code::kPeerLost, "peer '" + peer + "' is not bound to a channel"};
}

Status Aborted() { return {Code::kAborted, "the step was aborted"}; }

}  // namespace

void PeerChannels::BindSend(const std::string& peer, std::shared_ptr<SendChannel> channel) {
  std::lock_guard lock(mutex_);
  sends_[peer] = std::move(channel);
}

void PeerChannels::BindReceive(const std::string& peer, std::shared_ptr<ReceiveChannel> channel) {
  std::lock_guard lock(mutex_);
  receives_[peer] = std::move(channel);
}

void PeerChannels::InterruptSend(const std::string& reason) {
  std::lock_guard lock(mutex_);
  if (sending_ != nullptr) sending_->Fail(reason);
}

void PeerChannels::BeginStep(Deadline deadline) {
  deadline_ = deadline;
  wait_us_ = 0;
}

Status PeerChannels::Send(const std::string& peer, uint64_t tag, const void* data, size_t size) {
  std::shared_ptr<SendChannel> channel;
  {
    std::lock_guard lock(mutex_);
    // Under the lock: either InterruptSend sees the channel, or this sees the flag set before it.
    if (cancelled_.load()) return Aborted();
    if (const auto it = sends_.find(peer); it != sends_.end()) channel = it->second;
    sending_ = channel;
  }
  if (channel == nullptr) return NotBound(peer);
  const Status status = channel->Send(tag, data, size, deadline_);
  std::lock_guard lock(mutex_);
  sending_ = nullptr;
  return status;
}

std::shared_ptr<ReceiveChannel> PeerChannels::Receiver(const std::string& peer) {
  std::lock_guard lock(mutex_);
  const auto it = receives_.find(peer);
  return it == receives_.end() ? nullptr : it->second;
}

Status PeerChannels::Receive(const std::string& peer, uint64_t* tag, void* data, size_t capacity,
                             size_t* size) {
  const std::shared_ptr<ReceiveChannel> channel = Receiver(peer);
  if (channel == nullptr) return NotBound(peer);
  const auto start = Clock::now();
  Status status;
  do {
    if (cancelled_.load(std::memory_order_relaxed)) {
      status = Aborted();
      break;
    }
    status = channel->WaitMessage(std::min(deadline_, Clock::now() + kAbortPoll));
  } while (status.code() == Code::kDeadline && Clock::now() < deadline_);
  if (status.ok()) status = channel->Receive(tag, data, capacity, size, deadline_);
  wait_us_ += static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
  return status;
}

bool PeerChannels::HasMessage(const std::string& peer) {
  const std::shared_ptr<ReceiveChannel> channel = Receiver(peer);
  return channel != nullptr && channel->WaitMessage(Clock::now()).ok();
}

}  // namespace skein
