// Attention of the Llama-3.2-1B shape (32 heads over 8 KV heads of 64, 16 layers, bf16 cache) beside this
// machine's read and multiply-add rates, measured in turns in one run: one stream's decode step at several
// contexts, and prefill. Usage: attention_bench [threads] [rounds] [Highway targets]   (2 20 all)
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/ceilings.h"
#include "cpu/cpu_device.h"
#include "hwy/highway.h"

using namespace skein;

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint32_t kBlockSize = 16, kMaxLen = 8192;

void Require(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

struct Shape {
  const char* name;
  uint32_t heads, kv_heads, head_dim, layers;
  LatentShape latent;  // of zeros for plain heads
};

/// A backend with one attention op, and a filled cache of `layers` layers, so that a step does not find the
/// last one's rows in the cache of the CPU.
class Attention {
 public:
  Attention(const Shape& shape, size_t threads) : shape_(shape) {
    const uint32_t num_blocks = kMaxLen / kBlockSize;
    spec_.vocab_size = 4;
    spec_.limits = {kMaxLen, 8, 8, kMaxLen, 0, 0};
    const bool latent = shape.latent.latent_dim > 0;
    const uint32_t row = latent ? shape.latent.latent_dim + shape.latent.rope_dim : shape.head_dim;
    const KVCacheLayerSpec layer{latent ? 1 : shape.kv_heads, row, latent ? 1u : 2u, shape.latent.rope_dim};
    spec_.kv_cache = {num_blocks, kBlockSize, KVCacheDtype::kBF16,
                      std::vector<KVCacheLayerSpec>(shape.layers, layer)};
    widths_[0] = shape.heads * row;
    widths_[1] = latent ? shape.latent.latent_dim : shape.kv_heads * row;
    widths_[2] = latent ? shape.latent.rope_dim : shape.kv_heads * row;
    widths_[3] = latent ? shape.heads * shape.latent.latent_dim : widths_[0];
    for (int64_t i = 0; i < 3; ++i)
      spec_.ops.push_back({.kind = OpKind::kRecv, .out = i, .width = widths_[i], .peer = "bench"});
    Op op{.kind = latent ? OpKind::kLatentAttention : OpKind::kAttention, .inputs = {0, 1, 2}, .out = 3};
    op.num_heads = shape.heads, op.num_kv_heads = shape.kv_heads, op.head_dim = shape.head_dim;
    op.scale = 0.125f, op.latent = shape.latent;
    spec_.ops.push_back(op);
    Require(cpu::CpuDevice::Create(threads, &device_));
    Require(Program::Create(spec_, &program_));
    Require(device_->CreateBackend(program_, never_, &backend_));
    Require(cache_.Allocate(spec_.kv_cache));
    for (uint32_t b = 0; b < num_blocks; ++b) blocks_.push_back(static_cast<int32_t>(num_blocks - 1 - b));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int i = 0; i < 4; ++i) {
      values_[i].resize(size_t{kMaxLen} * widths_[i]);
      for (float& x : values_[i]) x = normal(random);
    }
    for (uint32_t l = 0; l < shape.layers; ++l) Step(0, kMaxLen / 8, l);
    // The rest of the cache looks like its beginning.
    for (uint32_t l = 0; l < shape.layers; ++l) {
      const KVCacheLayer& to = cache_.layer(l);
      const size_t bytes = static_cast<size_t>(to.Head(1, 0, 0) - to.Head(0, 0, 0));
      for (uint32_t b = num_blocks / 8; b < num_blocks; ++b) {
        std::memcpy(to.Head(static_cast<uint32_t>(blocks_[b]), 0, 0),
                    to.Head(static_cast<uint32_t>(blocks_[b % (num_blocks / 8)]), 0, 0), bytes);
      }
    }
  }

  /// Seconds of all layers' attention of tokens [begin, begin + count) of one sequence.
  double Seconds(uint32_t begin, uint32_t count) {
    const auto start = Clock::now();
    for (uint32_t l = 0; l < shape_.layers; ++l) Step(begin, count, l);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  double BytesPerPosition() const {
    const KVCacheLayer& layer = cache_.layer(0);
    return static_cast<double>(layer.Head(1, 0, 0) - layer.Head(0, 0, 0)) / kBlockSize * shape_.layers;
  }
  /// Of one query token and one position.
  double Flops() const { return 2.0 * (widths_[0] + widths_[3]) * shape_.layers; }

 private:
  void Step(uint32_t begin, uint32_t count, uint32_t layer) {
    const int32_t starts[] = {0, static_cast<int32_t>(count)}, computed[] = {static_cast<int32_t>(begin)},
                  block_start[] = {0, static_cast<int32_t>(blocks_.size())};
    StepInput input;
    input.num_tokens = count, input.num_seqs = 1;
    input.query_start = starts, input.num_computed_tokens = computed;
    input.block_start = block_start, input.block_ids = blocks_.data();
    backend_->BeginStep(input);
    const auto view = [&](int i) { return Matrix{values_[i].data(), count, widths_[i], widths_[i]}; };
    const Op& op = program_.spec.ops[3];
    if (op.kind == OpKind::kAttention) {
      backend_->Attention(op, cache_.layer(layer), view(0), view(1), view(2), view(3));
    } else {
      backend_->LatentAttention(op, cache_.layer(layer), view(0), view(1), view(2), view(3));
    }
  }

  Shape shape_;
  ProgramSpec spec_;
  uint32_t widths_[4];
  std::atomic<bool> never_{false};
  std::shared_ptr<cpu::CpuDevice> device_;
  Program program_;
  std::unique_ptr<Backend> backend_;
  KVCache cache_;
  std::vector<int32_t> blocks_;
  std::vector<float> values_[4];
};

}  // namespace

int main(int argc, char** argv) {
  const size_t threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 20;
  if (argc > 3) {
    hwy::SetSupportedTargetsForTest(std::atoll(argv[3]));
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  Attention heads({"32/8 heads of 64", 32, 8, 64, 16, {}}, threads);
  Attention latent({"16 heads over a row of 512 + 64", 16, 1, 64, 16, {128, 64, 128, 512}}, threads);
  struct Case {
    const char* name;
    Attention* of;
    uint32_t begin, count;
    std::vector<double> read, fma, seconds;
  };
  Case cases[] = {{"decode at 512", &heads, 511, 1, {}, {}, {}},
                  {"decode at 4096", &heads, 4095, 1, {}, {}, {}},
                  {"decode at 8192", &heads, 8191, 1, {}, {}, {}},
                  {"prefill 512", &heads, 0, 512, {}, {}, {}},
                  {"prefill 512 at 3584", &heads, 3584, 512, {}, {}, {}},
                  {"latent decode at 4096", &latent, 4095, 1, {}, {}, {}},
                  {"latent prefill 256 at 256", &latent, 256, 256, {}, {}, {}}};
  for (int round = 0; round < rounds; ++round) {
    for (Case& c : cases) {
      cpu::Ceilings ceilings;
      Require(cpu::MeasureCeilings(threads, 1e-9, size_t{256} << 20, &ceilings));
      const double seconds = c.of->Seconds(c.begin, c.count);
      const double positions = c.begin + (c.count + 1) / 2.0;
      c.seconds.push_back(seconds);
      c.read.push_back(c.of->BytesPerPosition() * (c.begin + c.count) * 1e-9 / seconds / ceilings.read_gbps);
      c.fma.push_back(c.of->Flops() * positions * c.count * 1e-9 / seconds / ceilings.fma_gflops);
    }
  }
  const auto median = [](std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  for (const Case& c : cases) {
    std::printf("%-28s %8.2f ms (best %8.2f), %.2f of read, %.2f of fma\n", c.name, median(c.seconds) * 1e3,
                *std::min_element(c.seconds.begin(), c.seconds.end()) * 1e3, median(c.read), median(c.fma));
  }
  return 0;
}
