#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "skein/status.h"

namespace skein {

/// Owns one mapping; unmapped on destruction. Page-aligned.
class MappedMemory {
 public:
  MappedMemory() = default;
  MappedMemory(MappedMemory&& other) noexcept { *this = std::move(other); }
  MappedMemory& operator=(MappedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedMemory();

  /// Anonymous zero pages, backed by memory only once touched. kInternal when the system refuses.
  static Status Allocate(size_t size, MappedMemory* out);

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace skein
