#include "transport/shm_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include "transport/byte_codec.h"

namespace skein::transport {
namespace {

constexpr uint64_t kMagic = 0x474e4952204e4b53;  // "SKN RING"
constexpr uint32_t kVersion = 1;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr char kFilePrefix[] = "/memfd:skein:";

struct ShmDescriptor {
  uint64_t magic;
  uint32_t version;
  uint32_t pid;
  uint32_t fd;
  uint32_t reserved;
  uint64_t capacity;
  uint64_t nonce[2];
};

std::string ErrnoText(const std::string& what) { return what + ": " + std::strerror(errno); }

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

bool CapacityIsValid(uint64_t capacity) {
  return capacity >= kShmCapacityMin && capacity <= kShmCapacityMax && std::has_single_bit(capacity);
}

void* Map(int fd, size_t capacity) {
  return mmap(nullptr, kShmHeaderBytes + capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
}

/// Opens the peer's memory file, and only such a file: a descriptor must not make us open anything else.
Status OpenPeerFile(const std::string& where, const ShmDescriptor& descriptor, int* out) {
  const std::string path = "/proc/" + std::to_string(descriptor.pid) + "/fd/" + std::to_string(descriptor.fd);
  char target[128] = {};
  if (readlink(path.c_str(), target, sizeof(target) - 1) < 0)
    return {Code::kPeerLost, ErrnoText(where + path)};
  if (std::strncmp(target, kFilePrefix, sizeof(kFilePrefix) - 1) != 0)
    return {Code::kPeerLost, where + path + " is not a ring of skein"};
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return {Code::kPeerLost, ErrnoText(where + path)};
  *out = fd;
  return Status::Ok();
}

}  // namespace

Status ShmRing::Create(const std::string& name, size_t capacity, std::unique_ptr<ShmRing>* out) {
  const std::string where = "channel '" + name + "': ";
  if (capacity == 0 || capacity > kShmCapacityMax)
    return {Code::kInvalidArgument, where + "capacityBytes is " + std::to_string(capacity) + ", needs 1 to " +
                                        std::to_string(kShmCapacityMax)};
  capacity = std::bit_ceil(std::max(capacity, kShmCapacityMin));
  FileDescriptor file(
      memfd_create(("skein:" + name.substr(0, 100)).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (file.get() < 0) return {Code::kUnavailable, ErrnoText(where + "memfd_create")};
  const auto bytes = static_cast<off_t>(kShmHeaderBytes + capacity);
  // fallocate reserves the pages, so that a full machine is an answer here and never a fault later.
  if (fallocate(file.get(), 0, 0, bytes) != 0)
    return {Code::kUnavailable,
            ErrnoText(where + "reserving " + std::to_string(bytes) + " bytes of shared memory")};
  if (fcntl(file.get(), F_ADD_SEALS, kSeals) != 0)
    return {Code::kUnavailable, ErrnoText(where + "sealing the ring")};
  void* mapping = Map(file.get(), capacity);
  if (mapping == MAP_FAILED) return {Code::kUnavailable, ErrnoText(where + "mapping the ring")};

  auto* header = new (mapping) ShmHeader{};
  header->magic = kMagic;
  header->version = kVersion;
  header->header_bytes = kShmHeaderBytes;
  header->capacity = capacity;
  for (uint64_t& word : header->nonce) word = RandomWord();
  std::atomic_thread_fence(std::memory_order_release);

  const ShmDescriptor descriptor{
      kMagic, kVersion, static_cast<uint32_t>(getpid()),     static_cast<uint32_t>(file.get()),
      0,      capacity, {header->nonce[0], header->nonce[1]}};
  out->reset(new ShmRing(mapping, capacity, file.Release()));
  (*out)->descriptor_ = RecordBytes(descriptor, 0);
  return Status::Ok();
}

Status ShmRing::Open(const std::string& name, const std::vector<uint8_t>& bytes,
                     std::unique_ptr<ShmRing>* out) {
  const std::string where = "channel '" + name + "': ";
  ShmDescriptor descriptor{};
  if (bytes.size() != sizeof(descriptor) || !ReadRecord(bytes.data(), bytes.size(), &descriptor) ||
      descriptor.magic != kMagic)
    return {Code::kInvalidArgument, where + "this is not a descriptor of a shared-memory channel"};
  if (descriptor.version != kVersion)
    return {Code::kInvalidArgument, where + "descriptor version " + std::to_string(descriptor.version) +
                                        ", needs " + std::to_string(kVersion)};
  if (descriptor.pid == 0 || descriptor.pid > INT32_MAX || descriptor.fd > INT32_MAX ||
      !CapacityIsValid(descriptor.capacity))
    return {Code::kInvalidArgument, where + "the descriptor's numbers are out of range"};

  int fd = -1;
  if (Status status = OpenPeerFile(where, descriptor, &fd); !status.ok()) return status;
  const FileDescriptor file(fd);
  struct stat info {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &info) != 0 || seals < 0 || (seals & kSeals) != kSeals ||
      info.st_size != static_cast<off_t>(kShmHeaderBytes + descriptor.capacity))
    return {Code::kPeerLost, where + "the ring of process " + std::to_string(descriptor.pid) +
                                 " has another size or no seals"};
  void* mapping = Map(fd, descriptor.capacity);
  if (mapping == MAP_FAILED) return {Code::kUnavailable, ErrnoText(where + "mapping the ring")};
  out->reset(new ShmRing(mapping, descriptor.capacity, -1));

  ShmHeader& header = (*out)->header();
  const bool same = header.magic == kMagic && header.version == kVersion &&
                    header.header_bytes == kShmHeaderBytes && header.capacity == descriptor.capacity &&
                    header.nonce[0] == descriptor.nonce[0] && header.nonce[1] == descriptor.nonce[1];
  uint32_t free = 0;
  if (!same || !header.attached.compare_exchange_strong(free, 1)) {
    out->reset();
    return {Code::kPeerLost,
            where + (same ? "the ring already has a sender" : "the ring belongs to another channel")};
  }
  return Status::Ok();
}

ShmRing::~ShmRing() {
  munmap(mapping_, kShmHeaderBytes + capacity_);
  if (fd_ >= 0) close(fd_);
}

void ShmRing::Write(uint64_t position, const void* data, size_t size) {
  if (size == 0) return;
  const size_t offset = position & (capacity_ - 1);
  const size_t first = std::min(size, capacity_ - offset);
  std::memcpy(bytes() + offset, data, first);
  if (first < size) std::memcpy(bytes(), static_cast<const uint8_t*>(data) + first, size - first);
}

void ShmRing::Read(uint64_t position, void* data, size_t size) const {
  if (size == 0) return;
  const size_t offset = position & (capacity_ - 1);
  const size_t first = std::min(size, capacity_ - offset);
  std::memcpy(data, bytes() + offset, first);
  if (first < size) std::memcpy(static_cast<uint8_t*>(data) + first, bytes(), size - first);
}

}  // namespace skein::transport
