#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "skein/channel.h"
#include "transport/failure_latch.h"
#include "transport/shm_ring.h"

namespace skein::transport {

/// The sending end of a ring. Fail and the destructor close the ring, so the peer learns at once; what was
/// sent before can still be received. A peer that dies without closing is noticed from outside, by whoever
/// supervises it, through Fail.
class ShmSendChannel final : public SendChannel {
 public:
  ShmSendChannel(std::string name, std::unique_ptr<ShmRing> ring)
      : name_(std::move(name)), ring_(std::move(ring)) {}
  ~ShmSendChannel() override;
  Status Send(uint64_t step, const void* data, size_t size, Deadline deadline) override;
  void Fail(const std::string& reason) override;
  ChannelCounters counters() const override;

 private:
  Status Write(uint64_t step, const uint8_t* data, size_t size, Deadline deadline);
  /// Waits until `need` bytes are free; `*space` is what is.
  Status WaitForSpace(size_t need, Deadline deadline, size_t* space);
  bool LookForSpace(size_t need, size_t* space, Status* problem);
  void Publish();

  const std::string name_;
  const std::unique_ptr<ShmRing> ring_;
  FailureLatch latch_;
  std::atomic<bool> running_{false};
  uint64_t tail_ = 0;
  uint64_t head_seen_ = 0;
  uint32_t sequence_ = 0;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> messages_{0};
};

/// The receiving end, which made the ring. Same rules.
class ShmReceiveChannel final : public ReceiveChannel {
 public:
  ShmReceiveChannel(std::string name, std::unique_ptr<ShmRing> ring)
      : name_(std::move(name)), ring_(std::move(ring)) {}
  ~ShmReceiveChannel() override;
  Status WaitMessage(Deadline deadline) override;
  Status Receive(uint64_t* step, void* data, size_t capacity, size_t* size, Deadline deadline) override;
  void Fail(const std::string& reason) override;
  ChannelCounters counters() const override;

 private:
  Status Read(const ShmRecord& record, uint8_t* data, Deadline deadline);
  /// Waits until `need` bytes are there; `*available` is what is.
  Status WaitForBytes(size_t need, Deadline deadline, size_t* available);
  bool LookForBytes(size_t need, size_t* available, Status* problem);
  void Consume(size_t size);
  Status Corrupt(const std::string& what);

  const std::string name_;
  const std::unique_ptr<ShmRing> ring_;
  FailureLatch latch_;
  std::atomic<bool> running_{false};
  uint64_t head_ = 0;
  uint64_t tail_seen_ = 0;
  uint32_t sequence_ = 0;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> messages_{0};
};

}  // namespace skein::transport
