// A mixture of 64 experts of DeepSeek-V2-Lite's size (2048 x 1408, bf16, 6 per token) and its latent
// attention (16 heads over 512 + 64) on one thread, beside the read and multiply-add rates of the same
// thread. Best of many turns, so that a busy machine does not hide the kernels.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <vector>

#include "core/mapped_memory.h"
#include "cpu/ceilings.h"
#include "cpu/cpu_device.h"

using namespace skein;

namespace {

constexpr uint32_t kExperts = 64, kTopK = 6, kHidden = 2048, kInner = 1408, kTokens = 256;
constexpr uint32_t kHeads = 16, kLatent = 512, kRope = 64, kContext = 4096;

void Require(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

ProgramSpec Spec() {
  ProgramSpec spec;
  spec.vocab_size = 4;
  spec.limits = {kTokens, 1, 1, kContext, 0, 0};
  spec.kv_cache = {kContext / 16, 16, KVCacheDtype::kBF16, {{1, kLatent + kRope, 1, kRope}}};
  const auto weight = [&](uint64_t rows, uint64_t cols) {
    spec.weights.push_back(PlainSource({"w", "", 0, rows * cols * 2, TensorDtype::kBF16, {rows, cols}}));
    return static_cast<int64_t>(spec.weights.size()) - 1;
  };
  const uint32_t widths[] = {kHidden, kExperts, kHeads * (kLatent + kRope), kLatent, kRope};
  for (int64_t i = 0; i < 5; ++i)
    spec.ops.push_back({.kind = OpKind::kRecv, .out = i, .width = widths[i], .peer = "bench"});
  Op route{.kind = OpKind::kRoute, .inputs = {1, -1, -1}, .out = 5};
  route.route.top_k = kTopK;
  spec.ops.push_back(route);
  Op experts{.kind = OpKind::kExperts, .inputs = {0, 5, -1}, .out = 6};
  for (uint32_t e = 0; e < kExperts; ++e)
    experts.experts.push_back({e, weight(kInner, kHidden), weight(kInner, kHidden), weight(kHidden, kInner)});
  spec.ops.push_back(experts);
  Op attention{
      .kind = OpKind::kLatentAttention, .inputs = {2, 3, 4}, .out = 7, .num_heads = kHeads, .scale = 0.05f};
  attention.latent = {128, kRope, 128, kLatent};
  spec.ops.push_back(attention);
  return spec;
}

MappedMemory Filled(size_t bytes, uint16_t base) {
  MappedMemory memory;
  Require(MappedMemory::Allocate(bytes, &memory));
  auto* bits = reinterpret_cast<uint16_t*>(memory.data());
  for (size_t i = 0; i < bytes / 2; ++i)
    bits[i] = static_cast<uint16_t>(base | (i * 2654435761u >> 7 & 0x807f));
  return memory;
}

struct Bench {
  Program program;
  std::atomic<bool> cancelled{false};
  std::shared_ptr<cpu::CpuDevice> device;
  std::unique_ptr<Backend> backend;
  KVCache cache;
  MappedMemory weights = Filled(size_t{3} * kExperts * kHidden * kInner * 2, 0x3c80);
  std::vector<ExpertWeights> experts;
  std::vector<int32_t> blocks;
  std::vector<std::vector<float>> memory;

  Bench() {
    Require(Program::Create(Spec(), &program));
    Require(cpu::CpuDevice::Create(1, &device));
    Require(device->CreateBackend(program, cancelled, &backend));
    Require(cache.Allocate(program.spec.kv_cache));
    const std::byte* at = weights.data();
    const auto take = [&](size_t rows, size_t cols) {
      const WeightView view{.data = at,
                            .dtype = Dtype::kBF16,
                            .rows = rows,
                            .cols = cols,
                            .layout = WeightLayout::kFloatPanels,
                            .partials = static_cast<uint32_t>(PartialSums(cols))};
      at += rows * cols * 2;
      return view;
    };
    for (uint32_t e = 0; e < kExperts; ++e)
      experts.push_back({e, take(kInner, kHidden), take(kInner, kHidden), take(kHidden, kInner)});
    for (int32_t b = 0; b < static_cast<int32_t>(kContext / 16); ++b) blocks.push_back(b);
  }
  Matrix Make(size_t rows, size_t width) {
    std::vector<float>& data = memory.emplace_back(rows * (width + 16));
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i % 17) * 0.01f - 0.08f;
    return {data.data(), rows, width, width + 16};
  }
  double Experts(size_t tokens, size_t turn) {
    memory.clear();
    const Matrix x = Make(tokens, kHidden), routes = Make(tokens, 2 * kTopK), out = Make(tokens, kHidden);
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t k = 0; k < kTopK; ++k)
        routes.data[t * routes.stride + k] = static_cast<float>(10 * k + (t * 7 + k + turn) % 10);
    }
    return Seconds([&] { Require(backend->Experts({experts}, x, routes, out)); });
  }
  double Attention(uint32_t tokens) {
    memory.clear();
    const Matrix q = Make(tokens, kHeads * (kLatent + kRope)), latent = Make(tokens, kLatent),
                 rope = Make(tokens, kRope), out = Make(tokens, kHeads * kLatent);
    const int32_t starts[] = {0, static_cast<int32_t>(tokens)},
                  computed[] = {static_cast<int32_t>(kContext - tokens)},
                  block_start[] = {0, static_cast<int32_t>(blocks.size())};
    StepInput input;
    input.num_tokens = tokens;
    input.num_seqs = 1;
    input.query_start = starts;
    input.num_computed_tokens = computed;
    input.block_start = block_start;
    input.block_ids = blocks.data();
    backend->BeginStep(input);
    return Seconds(
        [&] { backend->LatentAttention(program.spec.ops.back(), cache.layer(0), q, latent, rope, out); });
  }
  /// Of this thread's own time, which does not run while others have the core.
  static double Seconds(const std::function<void()>& body) {
    const auto now = [] {
      timespec t;
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
      return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
    };
    const double start = now();
    body();
    return now() - start;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 10;
  Bench bench;
  double fma = 0, read = 0;
  const uint32_t batches[] = {1, 8, 64, 256};
  double experts[4] = {1e9, 1e9, 1e9, 1e9}, attention[4] = {1e9, 1e9, 1e9, 1e9};
  for (int round = 0; round < rounds; ++round) {
    cpu::Ceilings ceilings;
    Require(cpu::MeasureCeilings(1, 1e-9, size_t{64} << 20, &ceilings));
    fma = std::max(fma, ceilings.fma_gflops);
    read = std::max(read, ceilings.read_gbps);
    for (size_t b = 0; b < 4; ++b) {
      experts[b] = std::min(experts[b], bench.Experts(batches[b], static_cast<size_t>(round)));
      attention[b] = std::min(attention[b], bench.Attention(batches[b]));
    }
  }
  std::printf("fma %.1f GFLOP/s, read %.1f GB/s\n", fma, read);
  for (size_t b = 0; b < 4; ++b) {
    const double tokens = batches[b], hit = std::min<double>(kTopK * tokens, 60);
    const double flops = tokens * kTopK * 6.0 * kHidden * kInner * 1e-9,
                 bytes = hit * 6.0 * kHidden * kInner * 1e-9;
    std::printf("experts   %3u tokens: %6.1f GFLOP/s (%.2f of fma), %5.1f GB/s (%.2f of read)\n", batches[b],
                flops / experts[b], flops / experts[b] / fma, bytes / experts[b], bytes / experts[b] / read);
    const double scores = tokens * kHeads * (kContext - tokens / 2) * 2.0 * (2 * kLatent + kRope) * 1e-9;
    std::printf("attention %3u tokens: %6.1f GFLOP/s (%.2f of fma)\n", batches[b], scores / attention[b],
                scores / attention[b] / fma);
  }
  return 0;
}
