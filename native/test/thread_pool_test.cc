#include "core/thread_pool.h"

#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "check.h"

namespace skein::test {
namespace {

const std::atomic<bool> kNever{false};

TEST(EveryChunkRunsOnce) {
  for (const size_t threads : {1u, 2u, 5u}) {
    ThreadPool pool(threads);
    for (size_t round = 0; round < 3000; ++round) {
      const size_t chunks = round % 23;
      std::vector<int> hits(chunks);
      pool.Run(chunks, kNever, [&](size_t chunk, size_t thread) {
        CHECK(thread < threads);
        ++hits[chunk];
      });
      CHECK_EQ(std::accumulate(hits.begin(), hits.end(), size_t{0}), chunks);
      for (const int h : hits) CHECK_EQ(h, 1);
    }
  }
}

TEST(SleepingWorkersWake) {
  ThreadPool pool(3);
  std::atomic<int> sum{0};
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than workers spin
    pool.Run(3, kNever, [&](size_t, size_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      ++sum;
    });
  }
  CHECK_EQ(sum.load(), 60);
}

TEST(CallersTakeTurns) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int> sum{0};
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) pool.Run(4, kNever, [&](size_t, size_t) { ++sum; });
    });
  }
  for (std::thread& t : callers) t.join();
  CHECK_EQ(sum.load(), 3 * 500 * 4);
}

TEST(OthersTakeWhatALateThreadHasLeft) {
  ThreadPool pool(2);
  for (const size_t slow : {0u, 50u}) {
    std::atomic<int> ran{0};
    pool.Run(100, kNever, [&](size_t chunk, size_t) {
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
      while (chunk == slow && ran.load() < 99 && std::chrono::steady_clock::now() < end)
        std::this_thread::yield();
      if (chunk == slow) CHECK_EQ(ran.load(), 99);
      ++ran;
    });
    CHECK_EQ(ran.load(), 100);
  }
}

TEST(CancelSkipsTheRest) {
  ThreadPool pool(2);
  std::atomic<bool> cancelled{false};
  std::atomic<int> ran{0};
  pool.Run(10000, cancelled, [&](size_t, size_t) {
    if (++ran == 10) cancelled.store(true);
  });
  CHECK(ran.load() < 20);
}

}  // namespace
}  // namespace skein::test
