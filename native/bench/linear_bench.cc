// One linear of 8192 x 2048 bf16 weights on one thread for several batch sizes, beside the read and
// multiply-add rates of the same thread. Best of many short turns, so that a busy machine does not hide the
// kernel.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/mapped_memory.h"
#include "cpu/ceilings.h"
#include "cpu/linear.h"
#include "hwy/highway.h"

using namespace skein;

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 30;
  if (argc > 2) {
    hwy::SetSupportedTargetsForTest(std::atoll(argv[2]));
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  constexpr size_t kCols = 8192, kDepth = 2048, kCopies = 8;  // 256 MiB in all, far above the last cache
  MappedMemory weights, scratch, x, out;
  const auto allocate = [](size_t n, MappedMemory* m) {
    if (!MappedMemory::Allocate(n, m).ok()) std::exit(1);
  };
  allocate(kCols * kDepth * 2 * kCopies, &weights);
  allocate(cpu::LinearScratchBytes(), &scratch);
  allocate(size_t{288} * (kDepth + 16) * 4, &x);
  allocate(size_t{288} * (kCols + 16) * 4, &out);
  auto* bits = reinterpret_cast<uint16_t*>(weights.data());
  for (size_t i = 0; i < weights.size() / 2; ++i)
    bits[i] = static_cast<uint16_t>(0x3c80 | (i * 2654435761u >> 7 & 0x807f));
  auto* values = reinterpret_cast<float*>(x.data());
  for (size_t i = 0; i < x.size() / 4; ++i) values[i] = static_cast<float>(i % 17) - 8;

  double fma = 0, read = 0;
  const size_t batches[] = {1, 2, 4, 6, 8, 12, 16, 24, 32, 64, 256};
  double best[std::size(batches)] = {};
  size_t copy = 0;
  for (int round = 0; round < rounds; ++round) {
    cpu::Ceilings ceilings;
    if (!cpu::MeasureCeilings(1, 1e-9, size_t{64} << 20, &ceilings).ok()) return 1;
    fma = std::max(fma, ceilings.fma_gflops);
    read = std::max(read, ceilings.read_gbps);
    for (size_t b = 0; b < std::size(batches); ++b) {
      const size_t m = batches[b];
      // Few columns for large batches keeps a turn short.
      const size_t cols = m >= 64 ? 128 : m >= 8 ? 1024 : 4096;
      const LinearPart part{{weights.data() + copy * kCols * kDepth * 2, Dtype::kBF16, kCols, kDepth},
                            nullptr,
                            {reinterpret_cast<float*>(out.data()), m, kCols, kCols + 16}};
      copy = (copy + 1) % kCopies;  // not read again before the cache forgot it
      const size_t block = cpu::LinearBlockCols(m, kDepth, Dtype::kBF16), first = round * 1024 % 4096;
      const auto start = Clock::now();
      for (size_t c = first; c < first + cols; c += block) {
        cpu::LinearBlock({values, m, kDepth, kDepth + 16}, part, 0, m, c, c + block,
                         reinterpret_cast<float*>(scratch.data()));
      }
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best[b] = std::max(best[b], static_cast<double>(cols) / seconds);
    }
  }
  std::printf("fma %.1f GFLOP/s, read %.1f GB/s\n", fma, read);
  for (size_t b = 0; b < std::size(batches); ++b) {
    const double gflops = best[b] * kDepth * 2 * static_cast<double>(batches[b]) * 1e-9,
                 gbps = best[b] * kDepth * 2 * 1e-9;
    std::printf("%3zu rows: %6.1f GFLOP/s (%.2f of fma), %5.1f GB/s (%.2f of read)\n", batches[b], gflops,
                gflops / fma, gbps, gbps / read);
  }
  return 0;
}
