#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>

namespace skein {
namespace {

constexpr auto kSpinMax = std::chrono::microseconds(60);
constexpr auto kSpinMin = std::chrono::microseconds(4);
constexpr int kPausesPerClockRead = 32;
constexpr uint64_t kRemainingMask = 0xffffffffu;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// How long one thread spins: half as long after it was in vain, twice as long after it was not. Where a core
/// is shared, what one waits for is often not running.
class Spin {
 public:
  template <typename Done>
  bool Until(const Done& done) {
    const bool ended = For(limit_, done);
    limit_ = ended ? std::min(limit_ * 2, Duration(kSpinMax)) : std::max(limit_ / 2, Duration(kSpinMin));
    return ended;
  }

 private:
  using Duration = std::chrono::steady_clock::duration;

  template <typename Done>
  static bool For(Duration limit, const Done& done) {
    const auto end = std::chrono::steady_clock::now() + limit;
    do {
      for (int i = 0; i < kPausesPerClockRead; ++i) {
        if (done()) return true;
        Pause();
      }
    } while (std::chrono::steady_clock::now() < end);
    return done();
  }

  Duration limit_ = kSpinMax;
};

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(sleep_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunErased(size_t chunks, const std::atomic<bool>& cancelled, Call call, void* context) {
  if (workers_.empty() || chunks <= 1) {
    for (size_t i = 0; i < chunks && !cancelled.load(std::memory_order_relaxed); ++i) call(context, i, 0);
    return;
  }
  std::lock_guard turn(turn_);
  const auto count = static_cast<uint32_t>(chunks);
  job_ = {call, context, &cancelled, count};
  unfinished_.store(count, std::memory_order_relaxed);
  const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  // Sequentially consistent with `sleepers_`: either a worker about to sleep sees the ticket, or we see the
  // sleeper.
  ticket_.store((number << 32) | count);
  if (sleepers_.load() != 0) {
    {
      std::lock_guard lock(sleep_);
    }
    wake_.notify_all();
  }
  while (TakeOne(0)) {
  }
  thread_local Spin spin;
  if (spin.Until([this] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
  std::unique_lock lock(sleep_);
  caller_sleeps_.store(true);
  finished_.wait(lock, [this] { return unfinished_.load() == 0; });
  caller_sleeps_.store(false);
}

bool ThreadPool::TakeOne(size_t thread) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if ((ticket & kRemainingMask) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                          std::memory_order_acquire));
  const size_t chunk = job_.chunks - (ticket & kRemainingMask);
  if (!job_.cancelled->load(std::memory_order_relaxed)) job_.call(job_.context, chunk, thread);
  if (unfinished_.fetch_sub(1) == 1 && caller_sleeps_.load()) {
    {
      std::lock_guard lock(sleep_);
    }
    finished_.notify_all();
  }
  return true;
}

void ThreadPool::Work(size_t thread) {
  Spin spin;
  const auto work = [this] { return (ticket_.load(std::memory_order_relaxed) & kRemainingMask) != 0; };
  while (!stop_.load(std::memory_order_relaxed)) {
    while (TakeOne(thread)) {
    }
    if (spin.Until(work)) continue;
    std::unique_lock lock(sleep_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [this] { return stop_.load() || (ticket_.load() & kRemainingMask) != 0; });
    sleepers_.fetch_sub(1);
  }
}

}  // namespace skein
