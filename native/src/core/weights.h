#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/mapped_memory.h"
#include "core/program_spec.h"
#include "core/thread_pool.h"
#include "core/weight.h"
#include "core/weight_cache.h"
#include "core/weight_plan.h"
#include "skein/status.h"

namespace skein {

/// What a load did with the weight cache.
struct WeightCacheUse {
  /// Empty without a cache.
  std::string path;
  bool read = false;
  bool written = false;
  /// Why the file that was there was not taken, or could not be written; empty when nothing was wrong.
  std::string problem;
};

/// Weights of one program, each in the forms that its ops read. Not thread-safe; views live as long as the
/// store. They lie in huge pages where the system grants them: decoding reads all weights for each token, and
/// with small pages address translation costs a tenth of the read rate (0.76 against 0.85 of it, measured on
/// two cores with a 1B model).
class WeightStore {
 public:
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  /// Reads, checks and packs all weights on the threads of `pool`; vectors are widened to f32. kFile names a
  /// file that cannot be read, or a tensor whose content is wrong. `progress` counts stored bytes and is
  /// called on this thread; `cancelled` is polled (kAborted).
  Status Load(const ProgramSpec& spec, ThreadPool* pool, const Progress& progress,
              const std::atomic<bool>& cancelled);
  /// The same, through the cache of spec.weight_cache_dir. What the cache lacks or fails at makes the load
  /// slower and no failure: `use` tells.
  Status LoadCached(const ProgramSpec& spec, const std::string& instruction_level, ThreadPool* pool,
                    const Progress& progress, const std::atomic<bool>& cancelled, WeightCacheUse* use);

  /// For linear, logits, experts and embed ops: kFloatPanels or kIntPanels.
  const WeightView& panels(int64_t id) const { return bound(id).panels; }
  /// For absorbKey: kRows.
  const WeightView& rows(int64_t id) const { return bound(id).rows; }
  /// For expandValue: the value rows [num_heads * value_dim, latent_dim], kFloatPanels of each head by
  /// itself.
  const WeightView& values(int64_t id) const { return bound(id).values; }
  /// f32 copy of a one-dimensional weight (norm weight, bias).
  std::span<const float> vector(int64_t id) const { return bound(id).vector; }

 private:
  struct Bound {
    WeightView panels, rows, values;
    std::span<const float> vector;
  };
  const Bound& bound(int64_t id) const { return bound_[static_cast<size_t>(id)]; }
  Status Pack(const ProgramSpec& spec, ThreadPool* pool, const Progress& progress,
              const std::atomic<bool>& cancelled, std::vector<bool>* wide_scales);
  Status ReadCached(const ProgramSpec& spec, const WeightCache& cache, ThreadPool* pool,
                    const Progress& progress, const std::atomic<bool>& cancelled);
  void Bind(const ProgramSpec& spec, const WeightPlan& plan);

  MappedMemory memory_;
  size_t packed_bytes_ = 0;
  std::vector<Bound> bound_;
};

}  // namespace skein
