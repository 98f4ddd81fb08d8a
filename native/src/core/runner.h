#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/backend.h"
#include "core/own_processor.h"
#include "core/step_executor.h"

namespace skein {

/// A program with its weights, KV pool and thread. Steps are queued and run one after another, in call order.
/// All methods are thread-safe. Callbacks run on the runner's thread, exactly once per call; they must not
/// call Close.
class Runner {
 public:
  static constexpr size_t kMaxQueued = 64;
  using LoadDone = std::function<void(Status)>;
  using StepDone = std::function<void(Status, StepResult)>;

  /// Allocates arena and KV pool, starts the thread. Keeps `device`.
  static Status Create(std::shared_ptr<Device> device, Program program, std::unique_ptr<Runner>* out);
  ~Runner();

  const Program& program() const { return program_; }
  /// Progress is called on the runner's thread.
  void Load(WeightStore::Progress progress, LoadDone done);
  /// Null before the weights are loaded, or without a cache.
  const WeightCacheUse* weight_cache_use() const {
    return loaded_.load() && !weight_cache_use_.path.empty() ? &weight_cache_use_ : nullptr;
  }
  /// Fails with kInvalidArgument when the queue is full or the runner closed. The deadline starts when the
  /// step does.
  void Run(std::vector<int32_t> words, std::chrono::milliseconds deadline, StepDone done);
  /// Fails the running and all queued calls with kAborted; calls made after this returns are not affected.
  /// Noticed between and inside operations and while receiving; a blocked send ends by its deadline or by
  /// failing its channel.
  void Abort();
  /// kInvalidArgument while anything runs or is queued.
  Status Reset();
  /// Whether steps that begin later keep the logits of all their rows.
  void KeepLogits(bool keep);
  /// Waits for a running step. False when it kept no logits.
  bool CopyLogits(std::vector<float>* out);
  /// As StepExecutor::ExpertLoads; none once closed. Not beside Close.
  std::vector<ExpertLoad> ExpertLoads() const;
  void BindSend(const std::string& peer, std::shared_ptr<SendChannel> channel);
  void BindReceive(const std::string& peer, std::shared_ptr<ReceiveChannel> channel);
  /// Aborts, joins the thread and frees everything. Idempotent.
  void Close();

 private:
  struct Job {
    std::vector<int32_t> words;
    std::chrono::milliseconds deadline{0};
    WeightStore::Progress progress;
    LoadDone load_done;
    StepDone step_done;
  };

  Runner(std::shared_ptr<Device> device, Program program)
      : device_(std::move(device)),
        program_(std::move(program)),
        executor_(std::in_place, program_, weights_, cache_, cancelled_) {}
  void Enqueue(Job job);
  void Work();
  Status ExecuteLoad(const Job& job);
  Status ExecuteStep(const Job& job, StepResult* result);
  static void Fail(Job& job, const Status& status);

  std::shared_ptr<Device> device_;
  const Program program_;
  WeightStore weights_;
  KVCache cache_;
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> loaded_{false};
  /// Written before `loaded_`.
  WeightCacheUse weight_cache_use_;
  std::optional<StepExecutor> executor_;
  /// Held while a step runs or its results are read.
  std::mutex executing_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  bool busy_ = false;
  bool closed_ = false;
  std::thread thread_;
  OwnProcessor own_processor_;  // of that thread
};

}  // namespace skein
