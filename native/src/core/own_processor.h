#pragma once

#include <sched.h>

#include <chrono>
#include <functional>
#include <vector>

namespace skein {

/// Since a thread began.
struct ThreadTimes {
  std::chrono::nanoseconds ran{0};
  /// Runnable, while something else ran.
  std::chrono::nanoseconds waited{0};
};

/// What the kernel says of the calling thread; false where it keeps no times (Linux: CONFIG_SCHED_INFO).
bool ReadThreadTimes(ThreadTimes* times);

/// When a thread should be bound to a processor, and when not. Where compute threads fill a machine, each
/// event loop that wakes has the scheduler move one beside another, for milliseconds; a bound one stays. But
/// it cannot step aside for a busy neighbour either: so it is bound only while it hardly ever waits.
class BindingPolicy {
 public:
  using Clock = std::chrono::steady_clock;

  /// How often to ask.
  static constexpr auto kWindow = std::chrono::milliseconds(100);
  /// After a neighbour came a thread stays free for so long, twice as long each time that soon another came.
  static constexpr auto kRestMin = std::chrono::seconds(2);
  static constexpr auto kRestMax = std::chrono::seconds(64);
  /// Parts of the time that it could run in which a thread waits. Event loops of its own group take some 3 %.
  static constexpr double kWaitsToFree = 0.15;
  static constexpr double kWaitsToBind = 0.08;

  /// Whether the thread should be bound from now on. `times` only grow.
  bool Next(Clock::time_point now, ThreadTimes times, bool bound);

 private:
  Clock::time_point since_{};
  ThreadTimes before_{};
  Clock::time_point free_until_{};
  Clock::time_point bound_since_{};
  Clock::duration rest_ = kRestMin;
};

/// Binds the thread that owns it to a processor, as BindingPolicy says; never where there are no times.
class OwnProcessor {
 public:
  explicit OwnProcessor(std::function<bool(ThreadTimes*)> read = ReadThreadTimes) : read_(std::move(read)) {}

  /// `processor`: the one to be bound to; -1 for none. By the owning thread, between pieces of work, as often
  /// as it likes: most calls read a clock.
  void Look(int processor);

 private:
  void Bind(int processor);
  void Free();

  const std::function<bool(ThreadTimes*)> read_;
  BindingPolicy policy_;
  BindingPolicy::Clock::time_point next_{};
  int bound_ = -1;
  /// Where the thread might run before it was bound.
  cpu_set_t allowed_{};
};

/// The processors that this process may run on, ascending; empty when the system does not say.
std::vector<int> ProcessorsOfProcess();

}  // namespace skein
