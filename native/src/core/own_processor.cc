#include "core/own_processor.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>

namespace skein {
namespace {

/// A thread that has less to do than this part of the time is not hurt by moving.
constexpr double kBusy = 0.5;
/// Less waiting than this part of the time harms nobody.
constexpr double kNoise = 0.05;

cpu_set_t Only(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(processor), &set);
  return set;
}

}  // namespace

bool ReadThreadTimes(ThreadTimes* times) {
  std::ifstream file("/proc/thread-self/schedstat");
  int64_t ran = 0, waited = 0;
  if (!(file >> ran >> waited)) return false;
  *times = {std::chrono::nanoseconds(ran), std::chrono::nanoseconds(waited)};
  // One that has never run does not read: then the kernel counts nothing.
  return ran > 0;
}

bool BindingPolicy::Next(Clock::time_point now, ThreadTimes times, bool bound) {
  using Seconds = std::chrono::duration<double>;
  const double wall = Seconds(now - since_).count();
  const double ran = Seconds(times.ran - before_.ran).count();
  const double waited = Seconds(times.waited - before_.waited).count();
  const bool first = since_ == Clock::time_point{};
  since_ = now;
  before_ = times;
  if (first) return bound;
  const double runnable = ran + waited;
  if (bound && waited > kNoise * wall && waited > kWaitsToFree * runnable) {
    rest_ = now - bound_since_ < 4 * rest_ ? std::min<Clock::duration>(2 * rest_, kRestMax) : kRestMin;
    free_until_ = now + rest_;
    return false;
  }
  if (!bound && runnable >= kBusy * wall && waited < kWaitsToBind * runnable && now >= free_until_) {
    bound_since_ = now;
    return true;
  }
  return bound;
}

void OwnProcessor::Look(int processor) {
  if (processor < 0 && bound_ < 0) return;
  const auto now = BindingPolicy::Clock::now();
  if (now < next_) return;
  next_ = now + BindingPolicy::kWindow;
  if (bound_ != processor && bound_ >= 0) Free();
  ThreadTimes times;
  if (processor < 0 || !read_(&times)) return;
  const bool bind = policy_.Next(now, times, bound_ >= 0);
  if (bind && bound_ < 0) Bind(processor);
  if (!bind && bound_ >= 0) Free();
}

void OwnProcessor::Bind(int processor) {
  const cpu_set_t only = Only(processor);
  if (sched_getaffinity(0, sizeof(allowed_), &allowed_) != 0) return;
  // It may have been taken from the process since.
  if (!CPU_ISSET(static_cast<size_t>(processor), &allowed_)) return;
  if (sched_setaffinity(0, sizeof(only), &only) == 0) bound_ = processor;
}

void OwnProcessor::Free() {
  const cpu_set_t only = Only(bound_);
  bound_ = -1;
  cpu_set_t now;
  // Someone else may have moved the thread: what they chose stays.
  if (sched_getaffinity(0, sizeof(now), &now) != 0 || !CPU_EQUAL(&now, &only)) return;
  sched_setaffinity(0, sizeof(allowed_), &allowed_);
}

std::vector<int> ProcessorsOfProcess() {
  cpu_set_t set;
  // Of the main thread: others may be bound.
  if (sched_getaffinity(getpid(), sizeof(set), &set) != 0) return {};
  std::vector<int> processors;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(static_cast<size_t>(i), &set)) processors.push_back(i);
  return processors;
}

}  // namespace skein
