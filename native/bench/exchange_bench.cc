// What ranks of a group on one machine pay for being several: the latency of all-reduces between two
// processes over rings in shared memory, and the share of decode steps that two ranks of one thread spend
// waiting for each other, beside one rank of two threads with all the weights (2 layers and the head of a 1B
// model, bf16).
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <vector>

#include "../test/sharded_model.h"
#include "transport/shm_channel.h"

using namespace skein;
using namespace skein::test;

namespace {

Ends LinkRing() {
  std::unique_ptr<transport::ShmRing> made, opened;
  CHECK_OK(transport::ShmRing::Create("bench", size_t{1} << 20, &made));
  CHECK_OK(transport::ShmRing::Open("bench", made->descriptor(), &opened));
  return {std::make_shared<transport::ShmSendChannel>("bench", std::move(opened)),
          std::make_shared<transport::ShmReceiveChannel>("bench", std::move(made))};
}

double Microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

double Quantile(std::vector<double>& values, double q) {
  const auto at = values.begin() + static_cast<long>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// Microseconds of each of `count` all-reduces of `bytes`, as `rank` sees them.
std::vector<double> AllReduces(Ranks& ranks, size_t rank, size_t bytes, size_t count) {
  const size_t n = bytes / sizeof(float);
  std::vector<float> x(n, 1.0f), out(n);
  std::vector<double> times;
  for (size_t i = 0; i < count; ++i) {
    const auto start = Clock::now();
    CHECK_OK(
        ranks.at(rank).AllReduce("allReduce", {x.data(), 1, n, n}, Reduction::kSum, {out.data(), 1, n, n}));
    times.push_back(Microseconds(Clock::now() - start));
  }
  return times;
}

void MeasureLatency() {
  struct Case {
    uint32_t processes;
    size_t bytes, count;
  };
  for (const auto& [processes, bytes, count] : {Case{2, 4 << 10, 100'000},
                                                {2, 16 << 10, 50'000},
                                                {2, 64 << 10, 20'000},
                                                {2, 1 << 20, 1000},
                                                {4, 4 << 10, 2000},
                                                {4, 1 << 20, 200}}) {
    Ranks ranks(processes, LinkRing);
    // Rings of this process are its children's too.
    for (uint32_t rank = 1; rank < processes; ++rank) {
      if (fork() == 0) {
        AllReduces(ranks, rank, bytes, count);
        _exit(0);
      }
    }
    std::vector<double> times = AllReduces(ranks, 0, bytes, count);
    while (wait(nullptr) > 0) {
    }
    std::printf("all-reduce of %4zu KiB, %u processes: p50 %6.1f us, p99 %6.1f us\n", bytes >> 10, processes,
                Quantile(times, 0.5), Quantile(times, 0.99));
  }
}

void MeasureSteps() {
  const TinyShape shape{.vocab = 32000,
                        .hidden = 2048,
                        .inter = 8192,
                        .heads = 32,
                        .kv_heads = 8,
                        .head_dim = 64,
                        .rotary = 64};
  const TinyModel model(shape);
  const std::vector<int32_t> step = Pack({{{1}, 0, {0}}}, {{.token = 0, .slot = 0}});
  constexpr int kSteps = 200;
  const auto measure = [&](const char* name, GroupRunners& runners) {
    std::vector<double> times, waits;
    for (int i = 0; i < kSteps; ++i) {
      std::vector<std::promise<StepResult>> done(runners.size());
      const auto start = Clock::now();
      for (size_t r = 0; r < runners.size(); ++r) {
        runners.at(r).Run(step, std::chrono::seconds(60), [&done, r](Status s, StepResult result) {
          CHECK_OK(s);
          done[r].set_value(std::move(result));
        });
      }
      double wait = 0;
      for (auto& promise : done) wait += static_cast<double>(promise.get_future().get().wait_us);
      times.push_back(Microseconds(Clock::now() - start));
      waits.push_back(wait / static_cast<double>(runners.size()));
    }
    const double time = Quantile(times, 0.5), wait = Quantile(waits, 0.5);
    std::printf("decode step, %s: p50 %.0f us, of which %.0f us (%.1f %%) waiting for ranks\n", name, time,
                wait, 100 * wait / time);
  };
  {
    GroupRunners one({model.spec}, LinkRing, 2);
    measure("1 rank of 2 threads", one);
  }
  for (const bool sums : {false, true}) {
    Split split{{4, 4}, {4096, 4096}, {1024, 1024}, {16000, 16000}};
    split.sums = sums;
    std::vector<ProgramSpec> specs;
    for (uint32_t r = 0; r < 2; ++r) specs.push_back(Shard(model.spec, shape, split, r));
    GroupRunners two(specs, LinkRing, 1);
    measure(sums ? "2 ranks of 1 thread that add up" : "2 ranks of 1 thread that gather", two);
  }
}

}  // namespace

int main() {
  MeasureLatency();
  MeasureSteps();
}
