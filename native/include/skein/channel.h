#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "skein/status.h"

namespace skein {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

struct ChannelCounters {
  const char* transport = "";  ///< "shm" or "tcp"
  uint64_t bytes = 0;
  uint64_t messages = 0;
};

/// One direction from this rank to a peer. Messages carry a step number, arrive once and in order.
/// One thread sends at a time; Fail and counters may be called from any thread.
class SendChannel {
 public:
  virtual ~SendChannel() = default;
  /// Sends `size` bytes (0 allowed) as one message. `data` may be reused when this returns. Blocks while the peer is behind.
  /// kDeadline, kPeerLost (with the reason given to Fail, or the transport's own).
  virtual Status Send(uint64_t step, const void* data, size_t size, Deadline deadline) = 0;
  /// Wakes a blocked Send with kPeerLost; every later one fails the same way.
  virtual void Fail(const std::string& reason) = 0;
  virtual ChannelCounters counters() const = 0;
};

/// The other direction. One thread receives at a time.
class ReceiveChannel {
 public:
  virtual ~ReceiveChannel() = default;
  /// Waits until a message has begun to arrive, or the channel failed, and takes nothing: kDeadline leaves the channel as it
  /// was. Whoever must look up while waiting calls this in turns; a Receive that ends inside a message fails the channel.
  virtual Status WaitMessage(Deadline deadline) = 0;
  /// Takes the next message into `data`. kInvalidArgument when it is larger than `capacity` (the channel is then failed);
  /// `step` and `size` are then the message's too.
  virtual Status Receive(uint64_t* step, void* data, size_t capacity, size_t* size, Deadline deadline) = 0;
  virtual void Fail(const std::string& reason) = 0;
  virtual ChannelCounters counters() const = 0;
};

}  // namespace skein
