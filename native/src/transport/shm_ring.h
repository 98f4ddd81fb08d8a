#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "skein/status.h"

namespace skein::transport {

/// The shared words in front of a ring's bytes. Either side may find anything here: the peer is a different
/// process. `tail` and `head` count bytes since the start, in whole blocks; each is written by one side,
/// which keeps its own copy.
struct ShmHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t header_bytes;
  uint64_t capacity;
  uint64_t nonce[2];
  std::atomic<uint32_t> attached;  ///< 1 once a sender has the ring; a ring serves one
  alignas(64) std::atomic<uint64_t> tail;
  std::atomic<uint32_t> sender_closed;
  alignas(64) std::atomic<uint64_t> head;
  std::atomic<uint32_t> receiver_closed;
  alignas(
      64) std::atomic<uint32_t> receiver_asleep;  ///< futex word: 1 while the receiver sleeps or is about to
  alignas(64) std::atomic<uint32_t> sender_asleep;  ///< likewise
};
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

/// What stands in front of each message, alone in its block; the payload follows, padded to whole blocks.
struct ShmRecord {
  uint32_t magic;
  uint32_t sequence;  ///< low bits of the number of messages before this one
  uint64_t step;
  uint64_t size;
};

constexpr size_t kShmBlock = 64;
constexpr uint32_t kShmRecordMagic = 0x534b5243;
constexpr size_t kShmCapacityMin = 4096;
constexpr size_t kShmCapacityMax = size_t{1} << 30;
constexpr size_t kShmHeaderBytes = 4096;

/// One mapped byte ring: an anonymous memory file of the receiving process, which the sender opens through
/// /proc. Both must share user and pid namespace. The file has no name, so nothing is left behind by a killed
/// process, and it is sealed against resizing, so no peer can make an access fault. Not thread-safe; the
/// channel on top of it is.
class ShmRing {
 public:
  /// The receiving end. `capacity` is rounded up to a power of two of at least 4 KiB; the pages are reserved
  /// here.
  static Status Create(const std::string& name, size_t capacity, std::unique_ptr<ShmRing>* out);
  /// The sending end. kInvalidArgument for a malformed descriptor, kPeerLost when its ring is gone or in use.
  static Status Open(const std::string& name, const std::vector<uint8_t>& descriptor,
                     std::unique_ptr<ShmRing>* out);
  ~ShmRing();
  ShmRing(const ShmRing&) = delete;
  ShmRing& operator=(const ShmRing&) = delete;

  ShmHeader& header() { return *static_cast<ShmHeader*>(mapping_); }
  size_t capacity() const { return capacity_; }
  const std::vector<uint8_t>& descriptor() const { return descriptor_; }

  /// Copies to or from the ring at byte `position` since the start; `size` is at most the capacity.
  void Write(uint64_t position, const void* data, size_t size);
  void Read(uint64_t position, void* data, size_t size) const;

 private:
  ShmRing(void* mapping, size_t capacity, int fd) : mapping_(mapping), capacity_(capacity), fd_(fd) {}
  uint8_t* bytes() const { return static_cast<uint8_t*>(mapping_) + kShmHeaderBytes; }

  void* const mapping_;
  const size_t capacity_;
  const int fd_;  ///< the receiver's, open for the sender to find; -1 at the sender
  std::vector<uint8_t> descriptor_;
};

}  // namespace skein::transport
