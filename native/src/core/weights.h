#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/mapped_memory.h"
#include "core/program_spec.h"
#include "core/weight.h"
#include "skein/status.h"

namespace skein {

/// Shape and bytes of `source` agree, without looking at the file. `bytes` is what the weight takes in
/// memory. kInvalidArgument names the weight.
Status CheckWeightSource(const WeightSource& source, size_t* bytes);

/// Weights of one program. Not thread-safe; views live as long as the store.
/// Where the system grants huge pages the files are copied into them and unmapped: decoding reads all weights
/// for each token, and with small pages address translation costs a tenth of the read rate (0.76 against 0.85
/// of it, measured on two cores with a 1B model). Elsewhere the mapping itself is used.
class WeightStore {
 public:
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  /// Maps every file once, checks each tensor against the file's real size (kFile), and copies or touches the
  /// bytes. Vectors are also widened to f32. `cancelled` is polled (kAborted).
  Status Load(const std::vector<WeightSource>& sources, const Progress& progress,
              const std::atomic<bool>& cancelled);

  const WeightView& view(int64_t id) const { return views_[static_cast<size_t>(id)]; }
  /// f32 copy of a one-dimensional weight (norm weight, bias).
  const float* vector(int64_t id) const { return vectors_[static_cast<size_t>(id)].data(); }

 private:
  std::map<std::string, MappedMemory> files_;
  MappedMemory copied_;
  std::vector<MappedMemory> realigned_;
  std::vector<WeightView> views_;
  std::vector<std::vector<float>> vectors_;
};

}  // namespace skein
