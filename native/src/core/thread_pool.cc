#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "core/own_processor.h"

namespace skein {
namespace {

constexpr auto kSpinMax = std::chrono::microseconds(60);
constexpr auto kSpinMin = std::chrono::microseconds(4);
constexpr int kPausesPerClockRead = 32;
constexpr uint64_t kEndMask = 0xffffffffu;
constexpr uint64_t kOneFirst = uint64_t{1} << 32;

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

ThreadPool::ThreadPool(size_t threads) : shares_(std::max<size_t>(1, threads)), processors_(shares_.size()) {
  SetProcessors({});
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

void ThreadPool::SetProcessors(std::span<const int> processors) {
  for (size_t i = 0; i < threads(); ++i) processors_[i].store(processors.empty() ? -1 : processors[i]);
}

void ThreadPool::RunErased(size_t chunks, const std::atomic<bool>& cancelled, Call call, void* context) {
  if (workers_.empty() || chunks <= 1) {
    for (size_t i = 0; i < chunks && !cancelled.load(std::memory_order_relaxed); ++i) call(context, i, 0);
    return;
  }
  std::lock_guard turn(turn_);
  job_ = {call, context, &cancelled};
  unfinished_.store(static_cast<uint32_t>(chunks), std::memory_order_relaxed);
  // A thread that comes late from the last job may take from here at once.
  for (size_t i = 0; i < threads(); ++i) {
    const uint64_t first = chunks * i / threads(), end = chunks * (i + 1) / threads();
    shares_[i].left.store((first << 32) | end, std::memory_order_release);
  }
  // Sequentially consistent with `sleepers_`: either a worker about to sleep sees the job, or we see the
  // sleeper.
  job_number_.fetch_add(1);
  if (sleepers_.load() != 0) {
    {
      std::lock_guard lock(sleep_);
    }
    wake_.notify_all();
  }
  TakeAll(0);
  thread_local Spin spin;
  if (spin.Until([this] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
  std::unique_lock lock(sleep_);
  caller_sleeps_.store(true);
  finished_.wait(lock, [this] { return unfinished_.load() == 0; });
  caller_sleeps_.store(false);
}

bool ThreadPool::Take(size_t thread, uint32_t* chunk) {
  for (size_t i = 0; i < threads(); ++i) {
    std::atomic<uint64_t>& share = shares_[(thread + i) % threads()].left;
    const bool own = i == 0;
    uint64_t left = share.load(std::memory_order_acquire);
    while (left >> 32 < (left & kEndMask)) {
      if (share.compare_exchange_weak(left, own ? left + kOneFirst : left - 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        *chunk = static_cast<uint32_t>(own ? left >> 32 : (left & kEndMask) - 1);
        return true;
      }
    }
  }
  return false;
}

/// Runs chunks while there are any. All are of one job, which waits to hear of the first.
void ThreadPool::TakeAll(size_t thread) {
  uint32_t done = 0;
  for (uint32_t chunk; Take(thread, &chunk); ++done) {
    if (!job_.cancelled->load(std::memory_order_relaxed)) job_.call(job_.context, chunk, thread);
  }
  if (done > 0 && unfinished_.fetch_sub(done) == done && caller_sleeps_.load()) {
    {
      std::lock_guard lock(sleep_);
    }
    finished_.notify_all();
  }
}

void ThreadPool::Work(size_t thread) {
  Spin spin;
  OwnProcessor own;
  uint64_t seen = 0;
  const auto work = [&] { return job_number_.load(std::memory_order_acquire) != seen; };
  while (!stop_.load(std::memory_order_relaxed)) {
    if (!spin.Until(work)) {
      std::unique_lock lock(sleep_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [&] { return stop_.load() || job_number_.load() != seen; });
      sleepers_.fetch_sub(1);
    }
    seen = job_number_.load(std::memory_order_acquire);
    TakeAll(thread);
    own.Look(processor(thread));
  }
}

}  // namespace skein
