#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace skein {

/// Compute threads of a device. The calling thread is one of them: a pool of 1 has no other and never
/// synchronises. Each thread has neighbouring chunks to begin with, which it takes from the front, since
/// memory is read fastest in one long run; when it has none left it takes others' from their end, one at a
/// time, so that a core lent to someone else delays little. Who waits spins for 4 to 60 microseconds, as it
/// has paid before, then sleeps: on a shared machine a spinning thread takes the core that the work needs.
class ThreadPool {
 public:
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return shares_.size(); }

  /// Gives each thread a processor that it may be bound to, see OwnProcessor; or, with none, takes them back.
  /// As many as threads, or none. Thread-safe; threads follow at their next work.
  void SetProcessors(std::span<const int> processors);
  /// Of a thread; -1 for none. The caller's is its own to heed.
  int processor(size_t thread) const { return processors_[thread].load(std::memory_order_relaxed); }

  /// Calls body(chunk, thread) once for each chunk in [0, chunks), thread in [0, threads()), and returns when
  /// all are done. `body` must not throw. Callers on several threads take turns. Once `cancelled` is set,
  /// remaining chunks are skipped.
  template <typename Body>
  void Run(size_t chunks, const std::atomic<bool>& cancelled, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    RunErased(
        chunks, cancelled,
        [](void* context, size_t chunk, size_t thread) { (*static_cast<Plain*>(context))(chunk, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, size_t chunk, size_t thread);
  struct Job {
    Call call = nullptr;
    void* context = nullptr;
    const std::atomic<bool>* cancelled = nullptr;
  };

  /// The chunks [first, end) that a thread has left, (first << 32) | end.
  struct alignas(64) Share {
    std::atomic<uint64_t> left{0};
  };

  void RunErased(size_t chunks, const std::atomic<bool>& cancelled, Call call, void* context);
  void Work(size_t thread);
  void TakeAll(size_t thread);
  bool Take(size_t thread, uint32_t* chunk);

  /// One caller at a time.
  std::mutex turn_;
  /// Whoever takes a chunk may read it: until that chunk is done the job cannot end.
  Job job_;
  std::vector<Share> shares_;                 // by thread
  std::vector<std::atomic<int>> processors_;  // by thread
  /// Counts jobs.
  alignas(64) std::atomic<uint64_t> job_number_{0};
  /// Chunks of the job that no thread has told to be done.
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<bool> stop_{false};
  std::mutex sleep_;
  std::condition_variable wake_;
  std::condition_variable finished_;
  std::vector<std::thread> workers_;
};

}  // namespace skein
