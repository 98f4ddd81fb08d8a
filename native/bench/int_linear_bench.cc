// Integer linears of the Llama-3.2-1B shapes beside the integer and read rates of the same threads. Batches
// above 1 run on one thread; one row runs on two, over weights that no cache holds. Ratios are medians over
// rounds that measure the ceiling, then the kernel. Usage: int_linear_bench [rounds] [target bits of Highway]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "core/checked_math.h"
#include "core/mapped_memory.h"
#include "core/thread_pool.h"
#include "cpu/ceilings.h"
#include "cpu/int_linear.h"
#include "cpu/int_panels.h"
#include "hwy/highway.h"

using namespace skein;

namespace {

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}
double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}
double Max(const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); }
std::byte* Allocate(size_t bytes, MappedMemory* memory) {
  if (!MappedMemory::Allocate(bytes, memory).ok()) std::exit(1);
  return memory->data();
}

struct Weights {
  Weights(const cpu::IntFormat& format, size_t rows, size_t cols, size_t copies) {
    const cpu::IntPanelSizes sizes = cpu::IntPanelBytes(format, rows, cols);
    bytes = sizes.codes + sizes.scales + sizes.zeros;
    Allocate(sizes.codes * copies, &codes);
    Allocate(sizes.scales * copies, &scales);
    Allocate(std::max<size_t>(1, sizes.zeros * copies), &zeros);
    std::mt19937 random(1);
    for (size_t i = 0; i < codes.size() / 4; ++i) reinterpret_cast<uint32_t*>(codes.data())[i] = random();
    for (size_t i = 0; i < scales.size() / 2; ++i)
      reinterpret_cast<uint16_t*>(scales.data())[i] = static_cast<uint16_t>(0x1c00 | (i * 40503 & 0x3ff));
    for (size_t i = 0; i < zeros.size(); ++i) zeros.data()[i] = std::byte(i * 7 % 16);
    for (size_t i = 0; i < copies; ++i) {
      views.push_back({codes.data() + i * sizes.codes, Dtype::kF32, rows, cols, WeightLayout::kIntPanels,
                       static_cast<uint32_t>(PartialSums(cols)), format.group, format.bits, Dtype::kF16,
                       scales.data() + i * sizes.scales,
                       format.zeros ? reinterpret_cast<int8_t*>(zeros.data() + i * sizes.zeros) : nullptr});
    }
  }
  size_t bytes;
  MappedMemory codes, scales, zeros;
  std::vector<WeightView> views;
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  if (argc > 2) {
    hwy::SetSupportedTargetsForTest(std::atoll(argv[2]));
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  struct Kind {
    const char* name;
    cpu::IntFormat format;
  };
  const Kind kinds[] = {{"int4 g32", {4, 32, Dtype::kF16, false, false}},
                        {"int4 g128", {4, 128, Dtype::kF16, false, false}},
                        {"int4 g128 zeros", {4, 128, Dtype::kF16, true, false}},
                        {"int8 g128", {8, 128, Dtype::kF16, false, false}}};
  const size_t shapes[][2] = {{2048, 8192}, {8192, 2048}, {2048, 2048}};
  const size_t batches[] = {1, 2, 3, 4, 6, 8, 12, 16, 32, 128, 512};
  ThreadPool pool(2);
  const std::atomic<bool> never{false};
  MappedMemory scratch_memory;
  const size_t scratch_bytes = RoundUp(cpu::IntLinearScratchBytes(), 4096) + 64;
  std::byte* scratch = Allocate(2 * scratch_bytes, &scratch_memory);
  const auto scratch_of = [&](size_t thread) {
    return reinterpret_cast<float*>(scratch + thread * scratch_bytes);
  };
  for (const Kind& kind : kinds) {
    for (const auto& [cols, rows] : shapes) {
      // 256 MiB in all, far above the last cache.
      const Weights weights(kind.format, rows, cols,
                            (size_t{256} << 20) / (rows * cols * kind.format.bits / 8));
      MappedMemory x_memory, q_memory, out_memory;
      auto* x = reinterpret_cast<float*>(Allocate(512 * cols * 4, &x_memory));
      auto* out = reinterpret_cast<float*>(Allocate(512 * (rows + 16) * 4, &out_memory));
      for (size_t i = 0; i < 512 * cols; ++i) x[i] = static_cast<float>(i * 2654435761u >> 8 & 0xff) - 128;
      const cpu::QuantizedRows q = cpu::QuantizedRowsAt(
          Allocate(cpu::QuantizedRowsBytes(512, cols), &q_memory), 512, cols, cols % 1024 == 0 ? 128 : 32);
      cpu::QuantizeRows(x, cols, nullptr, false, q);
      size_t copy = 0;
      std::vector<double> read, read_share, gbps;
      for (int round = 0; round < rounds; ++round) {
        cpu::Ceilings ceilings;
        if (!cpu::MeasureCeilings(2, 1e-9, size_t{128} << 20, &ceilings).ok()) return 1;
        const size_t block = cpu::IntLinearBlockCols(1, cols, kind.format.bits), items = CeilDiv(rows, block);
        const size_t copies = weights.views.size() / 2;
        const auto start = Clock::now();
        pool.Run(items * copies, never, [&](size_t item, size_t thread) {
          const LinearPart part{weights.views[(copy + item / items) % weights.views.size()],
                                nullptr,
                                {out, 1, rows, rows + 16}};
          const size_t c = item % items * block;
          cpu::IntLinearBlock(q, part, 0, 1, c, std::min(rows, c + block), scratch_of(thread));
        });
        gbps.push_back(static_cast<double>(weights.bytes * copies) / SecondsSince(start) * 1e-9);
        copy += copies;
        read.push_back(ceilings.read_gbps);
        read_share.push_back(gbps.back() / read.back());
      }
      std::printf("%-16s K %4zu N %4zu, 1 row, 2 threads: %5.1f GB/s of %5.1f, median share %.2f\n",
                  kind.name, cols, rows, Median(gbps), Median(read), Median(read_share));
      for (const size_t m : batches) {
        std::vector<double> gops, share, peak;
        for (int round = 0; round < rounds; ++round) {
          cpu::Ceilings ceilings;
          if (!cpu::MeasureCeilings(1, 1e-9, 4096, &ceilings).ok()) return 1;
          const double ceiling = kind.format.bits == 4 ? ceilings.int4_gops : ceilings.int8_gops;
          const size_t block = cpu::IntLinearBlockCols(m, cols, kind.format.bits);
          // A turn of some milliseconds.
          const size_t turn =
              std::clamp<size_t>(size_t{1} << 28 >> 1, 1, 512 * rows * cols) / (m * cols) / block * block;
          const size_t width = std::min(rows, std::max(block, turn)), first = round * 1024 % rows;
          const size_t end = std::min(rows, first + width);
          const LinearPart part{
              weights.views[copy++ % weights.views.size()], nullptr, {out, m, rows, rows + 16}};
          const auto start = Clock::now();
          for (size_t c = first; c < end; c += block) {
            for (size_t r = 0; r < m; r += cpu::kIntLinearMaxRows)
              cpu::IntLinearBlock(q, part, r, std::min(m, r + cpu::kIntLinearMaxRows), c,
                                  std::min(end, c + block), scratch_of(0));
          }
          gops.push_back(2.0 * static_cast<double>(m * (end - first) * cols) / SecondsSince(start) * 1e-9);
          share.push_back(gops.back() / ceiling);
          peak.push_back(ceiling);
        }
        std::printf("  %3zu rows: %6.1f GOP/s (best %6.1f) of %6.1f, median share %.2f, best %.2f\n", m,
                    Median(gops), Max(gops), Median(peak), Median(share), Max(gops) / Max(peak));
      }
    }
  }
  return 0;
}
