#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace skein {

/// Compute threads of a device. The calling thread is one of them: a pool of 1 has no other and never
/// synchronises. Work is taken in chunks from a counter, so that a core lent to someone else delays little.
/// Who waits spins for 4 to 60 microseconds, as it has paid before, then sleeps: on a shared machine a
/// spinning thread takes the core that the work needs.
class ThreadPool {
 public:
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return workers_.size() + 1; }

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
    uint32_t chunks = 0;
  };

  void RunErased(size_t chunks, const std::atomic<bool>& cancelled, Call call, void* context);
  void Work(size_t thread);
  bool TakeOne(size_t thread);

  /// One caller at a time.
  std::mutex turn_;
  Job job_;
  /// (job number << 32) | chunks not yet taken. Whoever lowers it owns that chunk, and until the chunk is
  /// done the job cannot end, so `job_` may be read.
  alignas(64) std::atomic<uint64_t> ticket_{0};
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
