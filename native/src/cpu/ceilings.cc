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
#include "cpu/int_dot-inl.h"
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

/// Keeps the compiler from computing with a vector only once.
template <class V>
HWY_INLINE V Opaque(V v) {
#if HWY_ARCH_X86
  asm volatile("" : "+v"(v.raw));
#else
  asm volatile("" : "+w"(v.raw));
#endif
  return v;
}

HWY_INLINE void AddStep(VI32& sum, VI32 step) { sum = hn::Add(sum, step); }

/// Operations of `rounds` rounds of six independent products of codes over eight steps, as the kernels sum
/// them, without their loads and scales.
template <class Dot, typename Weight>
double IntRounds(size_t rounds, const Weight& w, float seed, float* sink) {
  VI8 x = hn::Set(DI8(), static_cast<int8_t>(seed * 14));
  VI32 total0 = hn::Zero(DI32()), total1 = total0;
  for (size_t i = 0; i < rounds; ++i) {
    x = Opaque(x);
    typename Dot::Sum a = Dot::First(w, x);
    x = Opaque(x);
    typename Dot::Sum b = Dot::First(w, x);
    x = Opaque(x);
    typename Dot::Sum c = Dot::First(w, x);
    x = Opaque(x);
    typename Dot::Sum e = Dot::First(w, x);
    x = Opaque(x);
    typename Dot::Sum f = Dot::First(w, x);
    x = Opaque(x);
    typename Dot::Sum g = Dot::First(w, x);
    for (size_t step = 1; step < 8; ++step) {
      x = Opaque(x), a = Dot::Next(a, w, x);
      x = Opaque(x), b = Dot::Next(b, w, x);
      x = Opaque(x), c = Dot::Next(c, w, x);
      x = Opaque(x), e = Dot::Next(e, w, x);
      x = Opaque(x), f = Dot::Next(f, w, x);
      x = Opaque(x), g = Dot::Next(g, w, x);
    }
    AddStep(total0, Dot::Total(a)), AddStep(total1, Dot::Total(b)), AddStep(total0, Dot::Total(c));
    AddStep(total1, Dot::Total(e)), AddStep(total0, Dot::Total(f)), AddStep(total1, Dot::Total(g));
  }
  *sink += SumOf(hn::ConvertTo(DF(), hn::Add(total0, total1)));
  return static_cast<double>(rounds) * 6 * 8 * kBytes * 2;
}

double Int4RoundsImpl(size_t rounds, float seed, float* sink) {
  const VU8 codes = hn::Set(DU8(), static_cast<uint8_t>(seed * 6));
  return WithDots([&](auto dots) HWY_ATTR {
    return IntRounds<typename decltype(dots)::Dot4>(rounds, codes, seed, sink);
  });
}

double Int8RoundsImpl(size_t rounds, float seed, float* sink) {
  HWY_ALIGN uint8_t codes[kBytes];
  hn::Store(hn::Set(DU8(), static_cast<uint8_t>(static_cast<int8_t>(seed * -100))), DU8(), codes);
  return WithDots([&](auto dots) HWY_ATTR {
    using Dot = typename decltype(dots)::Dot8;
    return IntRounds<Dot>(rounds, Dot::Load(codes), seed, sink);
  });
}

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(FmaRoundsImpl);
HWY_EXPORT(Int4RoundsImpl);
HWY_EXPORT(Int8RoundsImpl);
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
  constexpr size_t kComputeChunks = 16;
  constexpr size_t kFmaRounds = 20'000;
  constexpr size_t kIntRounds = 4'000;
  const size_t chunk_bytes = std::min(kChunkBytes, read_bytes / 256 * 256);
  const size_t chunks = read_bytes / chunk_bytes;
  MappedMemory memory;
  if (Status s = MappedMemory::Allocate(chunks * chunk_bytes, &memory); !s.ok()) return s;
  std::memset(memory.data(), 1, memory.size());
  const auto* floats = reinterpret_cast<const float*>(memory.data());
  ThreadPool pool(threads);
  const std::atomic<bool> never{false};
  std::vector<float> sinks(threads * 16);
  std::vector<double> fma, int4, int8, read;
  const auto compute = [&](auto rounds_of, size_t rounds) {
    const auto begin = Clock::now();
    std::atomic<double> operations{0};
    pool.Run(kComputeChunks * threads, never, [&](size_t, size_t thread) {
      operations.fetch_add(rounds_of(rounds, 0.5f, &sinks[thread * 16]));
    });
    return operations.load() / SecondsSince(begin) * 1e-9;
  };
  const auto start = Clock::now();
  do {
    fma.push_back(
        compute([](auto... args) { return HWY_DYNAMIC_DISPATCH(FmaRoundsImpl)(args...); }, kFmaRounds));
    int4.push_back(
        compute([](auto... args) { return HWY_DYNAMIC_DISPATCH(Int4RoundsImpl)(args...); }, kIntRounds));
    int8.push_back(
        compute([](auto... args) { return HWY_DYNAMIC_DISPATCH(Int8RoundsImpl)(args...); }, kIntRounds));
    const auto begin = Clock::now();
    pool.Run(chunks, never, [&](size_t chunk, size_t thread) {
      HWY_DYNAMIC_DISPATCH(ReadAllImpl)
      (floats + chunk * chunk_bytes / 4, chunk_bytes / 4, &sinks[thread * 16]);
    });
    read.push_back(static_cast<double>(chunks * chunk_bytes) / SecondsSince(begin) * 1e-9);
  } while (SecondsSince(start) < seconds);
  *out = {Median(fma), Median(read), Median(int4), Median(int8)};
  return Status::Ok();
}

}  // namespace cpu
}  // namespace skein
#endif
