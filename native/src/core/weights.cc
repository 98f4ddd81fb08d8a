#include "core/weights.h"

#include <algorithm>
#include <mutex>

#include "core/weight_packer.h"

namespace skein {
namespace {

Status ReadVector(const WeightSource& source, SourceFiles* files, float* out) {
  const TensorSource& tensor = std::get<PlainWeight>(source.stored).tensor;
  StoredTensor stored;
  std::vector<uint8_t> scratch;
  if (Status s = files->Open(source, tensor, &stored); !s.ok()) return s;
  return stored.ReadFloats(source.first_row, source.shape[0], out, &scratch);
}

/// All pieces of all matrices, for the threads of a pool.
class Packing {
 public:
  Packing(const ProgramSpec& spec, const WeightPlan& plan, std::byte* memory)
      : spec_(spec), plan_(plan), memory_(memory) {}

  Status Open() {
    for (size_t i = 0; i < spec_.weights.size(); ++i) {
      const PlannedWeight& planned = plan_.weights[i];
      if (planned.vector != PlannedForm::kNone) {
        auto* to = reinterpret_cast<float*>(memory_ + planned.vector);
        if (Status s = ReadVector(spec_.weights[i], &files_, to); !s.ok()) return s;
        done_ += planned.stored_bytes;
        continue;
      }
      Work& work = works_.emplace_back(Work{i, pieces_, {spec_.weights[i], planned, memory_}});
      if (Status s = work.packer.Open(&files_); !s.ok()) return s;
      pieces_ += work.packer.pieces();
    }
    return Status::Ok();
  }

  Status Run(ThreadPool* pool, const WeightStore::Progress& progress, const std::atomic<bool>& cancelled) {
    std::vector<RowBlock> blocks(pool->threads());
    pool->Run(pieces_, cancelled, [&](size_t piece, size_t thread) {
      if (failed_.load(std::memory_order_relaxed)) return;
      const Work& work = *std::prev(std::upper_bound(
          works_.begin(), works_.end(), piece, [](size_t at, const Work& w) { return at < w.first_piece; }));
      if (Status s = work.packer.Pack(piece - work.first_piece, &blocks[thread]); !s.ok()) return Fail(s);
      done_ += plan_.weights[work.weight].stored_bytes / work.packer.pieces();
      if (thread == 0) progress(std::min<uint64_t>(done_, plan_.stored_bytes), plan_.stored_bytes);
    });
    if (cancelled.load(std::memory_order_relaxed)) return {Code::kAborted, "load aborted"};
    return failure_;
  }

  /// Marks the weights whose scales were beyond f16. False when there are none.
  bool MarkWide(std::vector<bool>* wide) const {
    bool any = false;
    for (const Work& work : works_) {
      if (!work.packer.needs_wide_scales()) continue;
      (*wide)[work.weight] = true;
      any = true;
    }
    return any;
  }

 private:
  struct Work {
    size_t weight;
    size_t first_piece;
    WeightPacker packer;
  };

  void Fail(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = status;
    failed_.store(true, std::memory_order_relaxed);
  }

  const ProgramSpec& spec_;
  const WeightPlan& plan_;
  std::byte* memory_;
  SourceFiles files_;
  std::vector<Work> works_;
  size_t pieces_ = 0;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  Status failure_;
};

}  // namespace

Status WeightStore::Load(const ProgramSpec& spec, ThreadPool* pool, const Progress& progress,
                         const std::atomic<bool>& cancelled) {
  std::vector<bool> wide(spec.weights.size());
  return Pack(spec, pool, progress, cancelled, &wide);
}

Status WeightStore::LoadCached(const ProgramSpec& spec, const std::string& instruction_level,
                               ThreadPool* pool, const Progress& progress, const std::atomic<bool>& cancelled,
                               WeightCacheUse* use) {
  *use = {};
  if (spec.weight_cache_dir.empty()) return Load(spec, pool, progress, cancelled);
  WeightCache cache;
  if (Status s = WeightCache::Open(spec, instruction_level, spec.weight_cache_dir, &cache); !s.ok()) return s;
  use->path = cache.path();
  const Status cached = ReadCached(spec, cache, pool, progress, cancelled);
  if (cached.ok() || cached.code() == Code::kAborted) {
    use->read = cached.ok();
    return cached;
  }
  if (cached.code() != Code::kUnavailable) use->problem = cached.message();
  std::vector<bool> wide(spec.weights.size());
  if (Status s = Pack(spec, pool, progress, cancelled, &wide); !s.ok()) return s;
  const Status written = cache.Write(wide, memory_.data(), packed_bytes_);
  use->written = written.ok();
  if (!written.ok()) use->problem = written.message();
  return Status::Ok();
}

Status WeightStore::ReadCached(const ProgramSpec& spec, const WeightCache& cache, ThreadPool* pool,
                               const Progress& progress, const std::atomic<bool>& cancelled) {
  std::vector<bool> wide(spec.weights.size());
  size_t bytes = 0;
  WeightPlan plan;
  if (Status s = cache.ReadHeader(&wide, &bytes); !s.ok()) return s;
  if (Status s = PlanWeights(spec, wide, &plan); !s.ok()) return s;
  if (plan.bytes != bytes) {
    return {Code::kFile, "weight cache '" + cache.path() + "': holds " + std::to_string(bytes) +
                             " bytes of weights, " + std::to_string(plan.bytes) + " are needed"};
  }
  if (Status s = MappedMemory::Allocate(bytes, &memory_); !s.ok()) return s;
  progress(0, bytes);
  const auto advance = [&](uint64_t done) { progress(done, bytes); };
  if (Status s = cache.Read(memory_.data(), bytes, pool, advance, cancelled); !s.ok()) return s;
  Bind(spec, plan);
  progress(bytes, bytes);
  return Status::Ok();
}

Status WeightStore::Pack(const ProgramSpec& spec, ThreadPool* pool, const Progress& progress,
                         const std::atomic<bool>& cancelled, std::vector<bool>* wide_scales) {
  WeightPlan plan;
  do {
    if (Status s = PlanWeights(spec, *wide_scales, &plan); !s.ok()) return s;
    memory_ = {};
    if (Status s = MappedMemory::Allocate(plan.bytes, &memory_); !s.ok()) return s;
    progress(0, plan.stored_bytes);
    Packing packing(spec, plan, memory_.data());
    if (Status s = packing.Open(); !s.ok()) return s;
    if (Status s = packing.Run(pool, progress, cancelled); !s.ok()) return s;
    // Scales beyond f16 are known once all is read; they are rare enough to begin again with room for f32.
    if (!packing.MarkWide(wide_scales)) break;
  } while (true);
  packed_bytes_ = plan.bytes;
  Bind(spec, plan);
  progress(plan.stored_bytes, plan.stored_bytes);
  return Status::Ok();
}

void WeightStore::Bind(const ProgramSpec& spec, const WeightPlan& plan) {
  for (size_t i = 0; i < plan.weights.size(); ++i) {
    const PlannedWeight& planned = plan.weights[i];
    Bound& bound = bound_.emplace_back();
    if (planned.vector != PlannedForm::kNone) {
      bound.vector = {reinterpret_cast<const float*>(memory_.data() + planned.vector),
                      spec.weights[i].shape[0]};
      continue;
    }
    bound.panels = planned.panels.At(memory_.data());
    bound.rows = planned.rows.At(memory_.data());
    bound.values = planned.values.At(memory_.data());
  }
}

}  // namespace skein
