#include "cpu/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/mapped_memory.h"
#include "core/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/ceilings.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Floating-point operations of `rounds` rounds of 12 independent multiply-adds.
double FmaRoundsImpl(size_t rounds, float seed, float* sink) {
  const DF d;
  const VF x = hn::Set(d, seed), y = hn::Set(d, 1.0f - seed);
  // All different, or the compiler would compute equal chains once.
  const auto start = [&](float i) HWY_ATTR { return hn::Set(d, seed + i); };
  VF a0 = start(0), a1 = start(1), a2 = start(2), a3 = start(3), a4 = start(4), a5 = start(5), a6 = start(6),
     a7 = start(7), a8 = start(8), a9 = start(9), a10 = start(10), a11 = start(11);
  for (size_t i = 0; i < rounds; ++i) {
    a0 = hn::MulAdd(a0, y, x), a1 = hn::MulAdd(a1, y, x), a2 = hn::MulAdd(a2, y, x),
    a3 = hn::MulAdd(a3, y, x);
    a4 = hn::MulAdd(a4, y, x), a5 = hn::MulAdd(a5, y, x), a6 = hn::MulAdd(a6, y, x),
    a7 = hn::MulAdd(a7, y, x);
    a8 = hn::MulAdd(a8, y, x), a9 = hn::MulAdd(a9, y, x), a10 = hn::MulAdd(a10, y, x),
    a11 = hn::MulAdd(a11, y, x);
  }
  const VF s0 = hn::Add(hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)), hn::Add(hn::Add(a4, a5), hn::Add(a6, a7)));
  *sink += SumOf(hn::Add(s0, hn::Add(hn::Add(a8, a9), hn::Add(a10, a11))));
  return static_cast<double>(rounds) * 12 * kLanes * 2;
}

/// Reads n floats, n a multiple of 64.
void ReadAllImpl(const float* p, size_t n, float* sink) {
  const DF d;
  VF a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t i = 0; i < n; i += 4 * kLanes) {
    a = hn::Add(a, hn::Load(d, p + i));
    b = hn::Add(b, hn::Load(d, p + i + kLanes));
    c = hn::Add(c, hn::Load(d, p + i + 2 * kLanes));
    e = hn::Add(e, hn::Load(d, p + i + 3 * kLanes));
  }
  *sink += SumOf(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(FmaRoundsImpl);
HWY_EXPORT(ReadAllImpl);
namespace cpu {
namespace {

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Status MeasureCeilings(size_t threads, double seconds, size_t read_bytes, Ceilings* out) {
  if (threads == 0 || threads > 1024 || !(seconds > 0) || seconds > 600 || read_bytes < 4096) {
    return {Code::kInvalidArgument,
            "measureCeilings needs 1 to 1024 threads, up to 600 seconds and 4096 bytes or more"};
  }
  // Chunks of 1 MiB keep both threads busy to the end, as the kernels' chunks do.
  constexpr size_t kChunkBytes = size_t{1} << 20;
  constexpr size_t kFmaChunks = 16;
  constexpr size_t kFmaRounds = 20'000;
  const size_t chunk_bytes = std::min(kChunkBytes, read_bytes / 256 * 256);
  const size_t chunks = read_bytes / chunk_bytes;
  MappedMemory memory;
  if (Status s = MappedMemory::Allocate(chunks * chunk_bytes, &memory); !s.ok()) return s;
  std::memset(memory.data(), 1, memory.size());
  const auto* floats = reinterpret_cast<const float*>(memory.data());
  ThreadPool pool(threads);
  const std::atomic<bool> never{false};
  std::vector<float> sinks(threads * 16);
  std::vector<double> fma, read;
  const auto start = Clock::now();
  do {
    auto begin = Clock::now();
    std::atomic<double> flops{0};
    pool.Run(kFmaChunks * threads, never, [&](size_t, size_t thread) {
      flops.fetch_add(HWY_DYNAMIC_DISPATCH(FmaRoundsImpl)(kFmaRounds, 0.5f, &sinks[thread * 16]));
    });
    fma.push_back(flops.load() / SecondsSince(begin) * 1e-9);
    begin = Clock::now();
    pool.Run(chunks, never, [&](size_t chunk, size_t thread) {
      HWY_DYNAMIC_DISPATCH(ReadAllImpl)
      (floats + chunk * chunk_bytes / 4, chunk_bytes / 4, &sinks[thread * 16]);
    });
    read.push_back(static_cast<double>(chunks * chunk_bytes) / SecondsSince(begin) * 1e-9);
  } while (SecondsSince(start) < seconds);
  *out = {Median(fma), Median(read)};
  return Status::Ok();
}

}  // namespace cpu
}  // namespace skein
#endif
