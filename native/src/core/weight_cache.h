#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "core/program_spec.h"
#include "core/thread_pool.h"
#include "skein/status.h"

namespace skein {

/// A file that holds the packed weights of one program, so that a later start reads instead of repacking. Its
/// name is a hash of what the weights are made of (samples of every tensor's bytes, formats, shapes), of
/// where the plan puts them and of the instruction level, so that another model or machine never finds it. It
/// appears whole: it is written aside, synced and renamed, and ranks that write the same one replace it with
/// its equal.
class WeightCache {
 public:
  /// `dir` is made when it is not there. kFile when a source cannot be read.
  static Status Open(const ProgramSpec& spec, const std::string& instruction_level, const std::string& dir,
                     WeightCache* out);

  const std::string& path() const { return path_; }
  /// Which weights have scales of f32, and how many bytes the packed weights take. kUnavailable when there is
  /// no file, kFile when it is not what was written here.
  Status ReadHeader(std::vector<bool>* wide_scales, size_t* bytes) const;
  /// The packed weights, after ReadHeader; `advance` is told of the bytes on the calling thread.
  Status Read(std::byte* memory, size_t bytes, ThreadPool* pool, const std::function<void(uint64_t)>& advance,
              const std::atomic<bool>& cancelled) const;
  /// kFile when the folder cannot be written to; then there is no file.
  Status Write(const std::vector<bool>& wide_scales, const std::byte* memory, size_t bytes) const;

 private:
  std::string path_;
  uint64_t key_[2] = {0, 0};
};

}  // namespace skein
