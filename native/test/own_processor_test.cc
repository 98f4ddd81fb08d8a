#include "core/own_processor.h"

#include <thread>
#include <utility>

#include "check.h"

namespace skein::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr double kAlone = 0.03, kBesideABusyLoop = 0.5;

/// A thread that runs or waits all the time, looked at once a window.
class BusyThread {
 public:
  /// One more window, in which it waited for `waits` of the time.
  bool Next(double waits, double busy = 1) {
    constexpr std::chrono::nanoseconds window = BindingPolicy::kWindow;
    now_ += window;
    times_.waited += std::chrono::nanoseconds(static_cast<int64_t>(window.count() * waits * busy));
    times_.ran += std::chrono::nanoseconds(static_cast<int64_t>(window.count() * (1 - waits) * busy));
    return bound_ = policy_.Next(now_, times_, bound_);
  }
  /// How long it is then neither bound nor disturbed before it is bound.
  std::chrono::nanoseconds Rest() {
    const auto from = now_;
    while (!Next(kAlone)) CHECK(now_ - from < 2 * BindingPolicy::kRestMax);
    return now_ - from;
  }

 private:
  BindingPolicy policy_;
  BindingPolicy::Clock::time_point now_{seconds(1000)};
  ThreadTimes times_;
  bool bound_ = false;
};

TEST(AThreadIsBoundOnceItIsSeenToBeAlone) {
  BusyThread thread;
  CHECK(!thread.Next(kAlone));  // of times before the first look nothing is known
  CHECK(thread.Next(kAlone));
  CHECK(thread.Next(0.12));
}

TEST(AThreadThatOthersDelayIsNotBound) {
  BusyThread thread;
  for (int i = 0; i < 5; ++i) CHECK(!thread.Next(0.12));
}

TEST(AThreadThatHasLittleToDoIsNotBoundAndStaysSoWhereItIs) {
  BusyThread thread;
  for (int i = 0; i < 5; ++i) CHECK(!thread.Next(kAlone, 0.2));
  CHECK(thread.Next(kAlone));
  // Of so little a few event loops' turns are much.
  for (int i = 0; i < 5; ++i) CHECK(thread.Next(0.3, 0.1));
  CHECK(!thread.Next(kBesideABusyLoop, 0.3));
}

TEST(ABoundThreadGivesWayLongerEachTimeThatANeighbourIsBackSoon) {
  BusyThread thread;
  thread.Rest();
  auto wanted = BindingPolicy::kRestMin;
  for (int i = 0; i < 8; ++i) {
    wanted = std::min(2 * wanted, BindingPolicy::kRestMax);
    CHECK(!thread.Next(kBesideABusyLoop));
    const auto rest = thread.Rest();
    CHECK(rest >= wanted && rest <= wanted + BindingPolicy::kWindow);
  }
  for (int i = 0; i < 3000; ++i) CHECK(thread.Next(kAlone));
  CHECK(!thread.Next(kBesideABusyLoop));
  CHECK(thread.Rest() <= BindingPolicy::kRestMin + BindingPolicy::kWindow);
}

std::vector<int> ProcessorsOfThread() {
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
  std::vector<int> processors;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(static_cast<size_t>(i), &set)) processors.push_back(i);
  return processors;
}

/// A thread of this process, whose waits a test says.
class Looking {
 public:
  void Look(int processor, double waits) {
    constexpr std::chrono::nanoseconds window = BindingPolicy::kWindow;
    // Whatever the clock says: it has run, and waited, that much longer.
    times_.ran += std::chrono::nanoseconds(static_cast<int64_t>(1e12 * (1 - waits)));
    times_.waited += std::chrono::nanoseconds(static_cast<int64_t>(1e12 * waits));
    std::this_thread::sleep_for(window + milliseconds(5));
    own_.Look(processor);
  }

 private:
  ThreadTimes times_;
  OwnProcessor own_{[this](ThreadTimes* times) {
    *times = times_;
    return true;
  }};
};

TEST(BindingIsOfTheThreadAndIsTakenBack) {
  std::thread([] {
    const std::vector<int> all = ProcessorsOfThread();
    const int last = all.back();
    Looking looking;
    looking.Look(last, kAlone);
    CHECK(ProcessorsOfThread() == all);
    looking.Look(last, kAlone);
    CHECK(ProcessorsOfThread() == std::vector{last});
    CHECK(ProcessorsOfProcess() == all);
    looking.Look(last, kBesideABusyLoop);
    CHECK(ProcessorsOfThread() == all);
  }).join();
  std::thread([] {
    const std::vector<int> all = ProcessorsOfThread();
    Looking looking;
    for (int i = 0; i < 2; ++i) looking.Look(all.back(), kAlone);
    CHECK(ProcessorsOfThread() == std::vector{all.back()});
    looking.Look(-1, kAlone);
    CHECK(ProcessorsOfThread() == all);
  }).join();
}

TEST(AThreadThatSomeoneElseBoundIsLeftThere) {
  const std::vector<int> all = ProcessorsOfThread();
  if (all.size() < 2) return;
  std::thread([&] {
    Looking looking;
    for (int i = 0; i < 2; ++i) looking.Look(all[0], kAlone);
    cpu_set_t other;
    CPU_ZERO(&other);
    CPU_SET(static_cast<size_t>(all[1]), &other);
    CHECK(sched_setaffinity(0, sizeof(other), &other) == 0);
    looking.Look(all[0], kBesideABusyLoop);
    CHECK(ProcessorsOfThread() == std::vector{all[1]});
  }).join();
}

TEST(TheKernelSaysHowLongAThreadRan) {
  ThreadTimes before, after;
  if (!ReadThreadTimes(&before)) return;
  do {
    CHECK(ReadThreadTimes(&after));
  } while (after.ran - before.ran < milliseconds(20));
  CHECK(after.waited >= before.waited);
}

}  // namespace
}  // namespace skein::test
