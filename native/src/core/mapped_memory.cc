#include "core/mapped_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace skein {

MappedMemory::~MappedMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

Status MappedMemory::Allocate(size_t size, MappedMemory* out) {
  if (size == 0) size = 1;
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    return {Code::kInternal, "cannot map " + std::to_string(size) + " bytes: " + std::strerror(errno)};
  }
  // Fewer TLB misses where the kernel grants it; refusal costs nothing.
  madvise(p, size, MADV_HUGEPAGE);
  MappedMemory memory;
  memory.data_ = static_cast<std::byte*>(p);
  memory.size_ = size;
  *out = std::move(memory);
  return Status::Ok();
}

}  // namespace skein
