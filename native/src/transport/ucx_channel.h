#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "skein/channel.h"
#include "transport/failure_latch.h"
#include "transport/ucx_wire.h"
#include "transport/ucx_worker.h"

namespace skein::transport {

/// The sending end of a UCX channel. Data is copied into staging buffers that outlive a missed deadline, so
/// `data` is free whenever Send returns; an ok Send has handed all bytes to the network. Fail and the
/// destructor tell the receiver, in half a second at most and without blocking, and close the connection.
class UcxSendChannel final : public SendChannel {
 public:
  /// Connects and waits for the receiver's first credit. kInvalidArgument, kPeerLost, kDeadline.
  static Status Open(std::shared_ptr<UcxWorker> worker, const std::string& name,
                     const std::vector<uint8_t>& descriptor, Deadline deadline,
                     std::shared_ptr<SendChannel>* out);
  ~UcxSendChannel() override;
  Status Send(uint64_t step, const void* data, size_t size, Deadline deadline) override;
  void Fail(const std::string& reason) override;
  ChannelCounters counters() const override;

  struct State;

 private:
  UcxSendChannel(std::shared_ptr<UcxWorker> worker, std::string name, const UcxDescriptor& descriptor);
  Status Connect(const UcxDescriptor& descriptor, Deadline deadline);
  Status SendPieces(uint64_t step, const uint8_t* data, size_t size, Deadline deadline, bool* started);
  Status Flush(Deadline deadline);

  const std::shared_ptr<UcxWorker> worker_;
  const std::shared_ptr<State> state_;
  std::atomic<bool> running_{false};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> messages_{0};
};

/// The receiving end: a window of posted buffers of one piece each, and a connection back to the sender for
/// credit.
class UcxReceiveChannel final : public ReceiveChannel {
 public:
  /// `capacity` bytes of buffers, rounded to whole pieces, at least 4 and at most kWindowMax.
  static Status Open(std::shared_ptr<UcxWorker> worker, const std::string& name, size_t capacity,
                     std::shared_ptr<ReceiveChannel>* out, std::vector<uint8_t>* descriptor);
  ~UcxReceiveChannel() override;
  Status WaitMessage(Deadline deadline) override;
  Status Receive(uint64_t* step, void* data, size_t capacity, size_t* size, Deadline deadline) override;
  void Fail(const std::string& reason) override;
  ChannelCounters counters() const override;

  struct State;

 private:
  UcxReceiveChannel(std::shared_ptr<UcxWorker> worker, std::string name, size_t window);
  Status ReceivePieces(uint64_t* step, uint8_t* data, size_t capacity, size_t* size, Deadline deadline,
                       bool* started);
  Status WaitForPiece(UcxWorker::Lock& lock, Deadline deadline);

  const std::shared_ptr<UcxWorker> worker_;
  const std::shared_ptr<State> state_;
  std::atomic<bool> running_{false};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> messages_{0};
};

}  // namespace skein::transport
