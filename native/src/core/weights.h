#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
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

/// Weights of one program, each in the forms that its ops read. Not thread-safe; views live as long as the
/// store. They lie in huge pages where the system grants them: decoding reads all weights for each token, and
/// with small pages address translation costs a tenth of the read rate (0.76 against 0.85 of it, measured on
/// two cores with a 1B model).
class WeightStore {
 public:
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  /// Maps every file once, checks each tensor against the file's real size (kFile), and packs or copies it;
  /// files are unmapped at the end. Vectors are widened to f32. `cancelled` is polled (kAborted).
  Status Load(const ProgramSpec& spec, const Progress& progress, const std::atomic<bool>& cancelled);

  /// For linear, logits, experts and embed ops: kFloatPanels.
  const WeightView& panels(int64_t id) const { return panels_[static_cast<size_t>(id)]; }
  /// For absorbKey: kRows.
  const WeightView& rows(int64_t id) const { return rows_[static_cast<size_t>(id)]; }
  /// For expandValue: the value rows [num_heads * value_dim, latent_dim], kFloatPanels of each head by
  /// itself.
  const WeightView& values(int64_t id) const { return values_[static_cast<size_t>(id)]; }
  /// f32 copy of a one-dimensional weight (norm weight, bias).
  std::span<const float> vector(int64_t id) const { return vectors_[static_cast<size_t>(id)]; }

 private:
  MappedMemory memory_;
  std::vector<WeightView> panels_, rows_, values_;
  std::vector<std::vector<float>> vectors_;
};

}  // namespace skein
