#include "transport/waiting.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

namespace skein::transport {

std::chrono::nanoseconds SpinTime() {
  static const std::chrono::nanoseconds spin = [] {
    cpu_set_t cpus;
    // Of the process: this thread may be bound to one.
    const int count = sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return std::chrono::microseconds(count >= 4 ? 50 : count >= 2 ? 20 : 0);
  }();
  return spin;
}

void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, Deadline deadline) {
  const auto left = deadline - Clock::now();
  if (left <= Clock::duration::zero()) return;
  // Long sleeps are cut: the caller looks again, and no arithmetic overflows.
  const auto sleep = std::min<std::chrono::nanoseconds>(left, std::chrono::seconds(3600));
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(sleep.count() / 1'000'000'000);
  timeout.tv_nsec = static_cast<long>(sleep.count() % 1'000'000'000);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

int PollTimeout(Deadline deadline, int most) {
  const auto left = deadline - Clock::now();
  if (left <= Clock::duration::zero()) return 0;
  if (left >= std::chrono::milliseconds(most)) return most;
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count()) + 1;
}

}  // namespace skein::transport
