#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "skein/channel.h"

namespace skein {

/// The channels of a program's peers, by name, and the messages of a step over them. Binding and interrupting
/// are thread-safe; one thread sends and receives.
class PeerChannels {
 public:
  /// `cancelled` ends every wait for a message with kAborted, soon; it must outlive this.
  explicit PeerChannels(const std::atomic<bool>& cancelled) : cancelled_(cancelled) {}

  /// A message that is under way keeps the channel it started with.
  void BindSend(const std::string& peer, std::shared_ptr<SendChannel> channel);
  void BindReceive(const std::string& peer, std::shared_ptr<ReceiveChannel> channel);
  /// Fails the channel of a Send that is under way; set `cancelled` before, so that none follows.
  void InterruptSend(const std::string& reason);

  /// Messages from here on end by `deadline`; their waiting is counted from 0.
  void BeginStep(Deadline deadline);
  /// Microseconds in Receive, since BeginStep.
  uint64_t wait_us() const { return wait_us_; }

  /// As SendChannel::Send; kPeerLost for a peer that is not bound.
  Status Send(const std::string& peer, uint64_t tag, const void* data, size_t size);
  /// As ReceiveChannel::Receive.
  Status Receive(const std::string& peer, uint64_t* tag, void* data, size_t capacity, size_t* size);
  /// Whether a message of the peer has begun to arrive.
  bool HasMessage(const std::string& peer);

 private:
  std::shared_ptr<ReceiveChannel> Receiver(const std::string& peer);

  const std::atomic<bool>& cancelled_;
  Deadline deadline_;
  uint64_t wait_us_ = 0;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<SendChannel>> sends_;
  std::map<std::string, std::shared_ptr<ReceiveChannel>> receives_;
  std::shared_ptr<SendChannel> sending_;
};

}  // namespace skein
