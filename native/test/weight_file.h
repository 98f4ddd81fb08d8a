#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "check.h"

namespace skein::test {

/// Bytes in a temporary file, which goes with this object.
class WeightFile {
 public:
  WeightFile(const void* data, size_t size) {
    const int fd = mkstemp(path_.data());
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, data, size), static_cast<ssize_t>(size));
    close(fd);
  }
  ~WeightFile() { unlink(path_.c_str()); }
  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/skein-weight-XXXXXX";
};

}  // namespace skein::test
