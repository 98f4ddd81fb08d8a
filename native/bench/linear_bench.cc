// Linears of a 1B Llama's shapes on one thread, in each storage type, for many numbers of rows: the share of
// the thread's multiply-add rate, and with one row that of its read rate. Best of many short turns, with the
// ceilings measured in between, so that a busy machine does not hide the kernel.
// Usage: linear_bench [rounds [dtype [highway target]]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/mapped_memory.h"
#include "cpu/ceilings.h"
#include "cpu/float_panels.h"
#include "cpu/linear.h"
#include "hwy/highway.h"

using namespace skein;

namespace {

using Clock = std::chrono::steady_clock;

struct Shape {
  size_t depth, width;
};
constexpr Shape kShapes[] = {{2048, 8192}, {8192, 2048}, {2048, 2048}, {2048, 512}};
constexpr size_t kBatches[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 144};
constexpr size_t kRowsMax = cpu::kLinearMaxRows, kWidest = 8192 + 16;
/// Far above the last cache, and passed in turn.
constexpr size_t kWeightBytes = size_t{256} << 20;
/// Weights of one turn: short, yet far above what a call costs.
constexpr size_t kTurnBytes = size_t{2} << 20;
constexpr double kTurnFlops = 1e8;

MappedMemory Allocate(size_t bytes) {
  MappedMemory memory;
  if (!MappedMemory::Allocate(bytes, &memory).ok()) std::exit(1);
  return memory;
}

float* Floats(MappedMemory& memory) { return reinterpret_cast<float*>(memory.data()); }

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 30;
  Dtype dtype = Dtype::kBF16;
  for (const Dtype d : {Dtype::kF32, Dtype::kF16, Dtype::kF8E4M3}) {
    if (argc > 2 && std::strcmp(argv[2], DtypeName(d)) == 0) dtype = d;
  }
  if (argc > 3) {
    hwy::SetSupportedTargetsForTest(std::atoll(argv[3]));
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  MappedMemory weights = Allocate(kWeightBytes), scratch = Allocate(cpu::LinearScratchBytes());
  MappedMemory x = Allocate(kRowsMax * kWidest * 4), out = Allocate(kRowsMax * kWidest * 4);
  // No number that is special in any type.
  for (size_t i = 0; i < weights.size(); ++i)
    weights.data()[i] = static_cast<std::byte>(0x38 | (i * 2654435761u >> 7 & 0x87));
  for (size_t i = 0; i < x.size() / 4; ++i) Floats(x)[i] = static_cast<float>(i % 17) - 8;

  double fma = 0, read = 0, best[std::size(kShapes)][std::size(kBatches)] = {};
  size_t at = 0;
  for (int round = 0; round < rounds; ++round) {
    cpu::Ceilings ceilings;
    if (!cpu::MeasureCeilings(1, 1e-9, size_t{64} << 20, &ceilings).ok()) return 1;
    fma = std::max(fma, ceilings.fma_gflops);
    read = std::max(read, ceilings.read_gbps);
    for (size_t s = 0; s < std::size(kShapes); ++s) {
      const auto [depth, width] = kShapes[s];
      const size_t row_bytes = depth * DtypeBytes(dtype);
      for (size_t b = 0; b < std::size(kBatches); ++b) {
        const size_t m = kBatches[b], block = cpu::LinearBlockCols(m, depth, dtype);
        const double row_flops = 2.0 * static_cast<double>(m * depth);
        const size_t by_flops = static_cast<size_t>(kTurnFlops / row_flops);
        const size_t cols = std::min({width, std::max(block, kTurnBytes / row_bytes / block * block),
                                      std::max(block, by_flops / block * block)});
        if (at + width * row_bytes > kWeightBytes) at = 0;
        const LinearPart part{{.data = weights.data() + at,
                               .dtype = dtype,
                               .rows = width,
                               .cols = depth,
                               .layout = WeightLayout::kFloatPanels,
                               .partials = static_cast<uint32_t>(PartialSums(depth))},
                              nullptr,
                              {Floats(out), m, width, width + 16}};
        at += width * row_bytes;
        const auto start = Clock::now();
        for (size_t c = 0; c < cols; c += block) {
          cpu::LinearBlock({Floats(x), m, depth, depth + 16}, part, 0, m, c, std::min(cols, c + block),
                           Floats(scratch));
        }
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        best[s][b] = std::max(best[s][b], static_cast<double>(cols * row_bytes) / seconds * 1e-9);
      }
    }
  }
  std::printf("%s weights; fma %.1f GFLOP/s, read %.1f GB/s\n", DtypeName(dtype), fma, read);
  for (size_t s = 0; s < std::size(kShapes); ++s) {
    std::printf("%zu x %zu\n", kShapes[s].depth, kShapes[s].width);
    for (size_t b = 0; b < std::size(kBatches); ++b) {
      const double gflops =
          best[s][b] / static_cast<double>(DtypeBytes(dtype)) * 2 * static_cast<double>(kBatches[b]);
      std::printf("  %3zu rows: %6.1f GFLOP/s (%.2f of fma), %5.1f GB/s (%.2f of read)\n", kBatches[b],
                  gflops, gflops / fma, best[s][b], best[s][b] / read);
    }
  }
  return 0;
}
