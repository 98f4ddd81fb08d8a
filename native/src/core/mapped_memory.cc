#include "core/mapped_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

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

bool MappedMemory::HugePagesGranted() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  std::getline(file, modes);
  return modes.find("[always]") != std::string::npos || modes.find("[madvise]") != std::string::npos;
}

Status MappedMemory::MapFile(const std::string& path, MappedMemory* out) {
  const auto fail = [&](const char* what) {
    return Status(Code::kFile, std::string(what) + " '" + path + "': " + std::strerror(errno));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail("cannot open");
  struct stat info {};
  Status status;
  MappedMemory memory;
  if (fstat(fd, &info) != 0) {
    status = fail("cannot stat");
  } else if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    status = {Code::kFile, "'" + path + "' is not a regular file with data"};
  } else {
    void* p = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
      status = fail("cannot map");
    } else {
      memory.data_ = static_cast<std::byte*>(p);
      memory.size_ = static_cast<size_t>(info.st_size);
    }
  }
  close(fd);
  *out = std::move(memory);
  return status;
}

}  // namespace skein
