// Decode and prefill of the Llama-3.2-1B shape (random bf16 weights) beside this machine's read and
// multiply-add rates, measured in turns in one run. Prints one JSON document; `limitShare` is the share of
// the ceiling. Usage: compute_bench [threads] [rounds] [layers]   (2 5 16; writes up to 2.5 GB under TMPDIR
// or /tmp while it runs)
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <vector>

#include "core/runner.h"
#include "cpu/ceilings.h"
#include "cpu/cpu_device.h"

namespace skein {
namespace {

constexpr uint32_t kHidden = 2048, kInter = 8192, kHeads = 32, kKVHeads = 8, kHeadDim = 64, kVocab = 128256;
constexpr uint32_t kBlockSize = 16, kMaxLen = 2048;

[[noreturn]] void Die(const Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(1);
}

class ModelFile {
 public:
  explicit ModelFile(TensorDtype dtype) : dtype_(dtype) {
    const char* dir = std::getenv("TMPDIR");
    path_ = std::string(dir != nullptr ? dir : "/tmp") + "/skein-compute-bench-XXXXXX";
    const int fd = mkstemp(path_.data());
    if (fd < 0) Die({Code::kFile, "cannot create " + path_});
    file_ = fdopen(fd, "wb");
  }
  ~ModelFile() { unlink(path_.c_str()); }

  int64_t Add(std::vector<uint64_t> shape) {
    uint64_t count = 1;
    for (const uint64_t n : shape) count *= n;
    spec.weights.push_back(
        PlainSource({"w" + std::to_string(spec.weights.size()), path_, size_, 2 * count, dtype_, shape}));
    std::vector<uint16_t> chunk(size_t{1} << 20);
    for (uint64_t at = 0; at < count; at += chunk.size()) {
      // Signs and mantissas at random, magnitudes near 0.02 (bf16) or 0.5 (norms do not matter here).
      for (uint16_t& v : chunk) v = static_cast<uint16_t>(0x3c80 | (Next() & 0x807f));
      std::fwrite(chunk.data(), 2, std::min<uint64_t>(chunk.size(), count - at), file_);
    }
    size_ += 2 * count;
    return static_cast<int64_t>(spec.weights.size()) - 1;
  }
  void Finish() { std::fclose(file_); }

  ProgramSpec spec;

 private:
  uint32_t Next() {
    state_ ^= state_ << 13, state_ ^= state_ >> 17, state_ ^= state_ << 5;
    return state_;
  }
  TensorDtype dtype_;
  std::string path_;
  FILE* file_ = nullptr;
  uint64_t size_ = 0;
  uint32_t state_ = 2463534242;
};

int64_t AddOp(ProgramSpec& spec, Op op, int64_t* next) {
  op.out = op.kind == OpKind::kSample ? -1 : (*next)++;
  spec.ops.push_back(op);
  return op.out;
}

void BuildModel(ModelFile& model, uint32_t layers) {
  ProgramSpec& spec = model.spec;
  int64_t next = 0;
  const auto add = [&](Op op) { return AddOp(spec, std::move(op), &next); };
  const auto linear = [&](int64_t x, uint64_t n, uint64_t k) {
    return add({.kind = OpKind::kLinear, .inputs = {x, -1, -1}, .weight = model.Add({n, k})});
  };
  const auto norm = [&](int64_t x) {
    return add(
        {.kind = OpKind::kRmsNorm, .inputs = {x, -1, -1}, .weight = model.Add({kHidden}), .eps = 1e-5f});
  };
  const auto rope = [&](int64_t x, uint32_t heads) {
    return add({.kind = OpKind::kRope,
                .inputs = {x, -1, -1},
                .num_heads = heads,
                .head_dim = kHeadDim,
                .rotary_dim = kHeadDim,
                .inverse_frequencies = std::vector<float>(kHeadDim / 2, 0.01f)});
  };
  const int64_t embed = model.Add({kVocab, kHidden});
  int64_t x = add({.kind = OpKind::kEmbed, .weight = embed});
  for (uint32_t layer = 0; layer < layers; ++layer) {
    const int64_t h = norm(x);
    const int64_t q = linear(h, kHeads * kHeadDim, kHidden);
    const int64_t k = linear(h, kKVHeads * kHeadDim, kHidden);
    const int64_t v = linear(h, kKVHeads * kHeadDim, kHidden);
    const int64_t a = add({.kind = OpKind::kAttention,
                           .inputs = {rope(q, kHeads), rope(k, kKVHeads), v},
                           .num_heads = kHeads,
                           .num_kv_heads = kKVHeads,
                           .head_dim = kHeadDim,
                           .cache_layer = layer,
                           .scale = 0.125f});
    x = add({.kind = OpKind::kAdd, .inputs = {x, linear(a, kHidden, kHidden), -1}});
    const int64_t m = norm(x);
    const int64_t gate = linear(m, kInter, kHidden);
    const int64_t up = linear(m, kInter, kHidden);
    const int64_t act = add({.kind = OpKind::kSiluMul, .inputs = {gate, up, -1}});
    x = add({.kind = OpKind::kAdd, .inputs = {x, linear(act, kHidden, kInter), -1}});
  }
  x = add({.kind = OpKind::kGatherRows, .inputs = {norm(x), -1, -1}});
  const int64_t logits = add({.kind = OpKind::kLogits, .inputs = {x, -1, -1}, .weight = embed});
  add({.kind = OpKind::kSample, .inputs = {logits, -1, -1}});
  model.Finish();
  spec.vocab_size = kVocab;
  spec.limits = {512, 32, 32, kMaxLen, 0, 32};
  spec.kv_cache = {32 * kMaxLen / kBlockSize, kBlockSize, KVCacheDtype::kBF16,
                   std::vector<KVCacheLayerSpec>(layers, {kKVHeads, kHeadDim})};
}

/// `seqs` sequences with `computed` tokens each, `tokens` new ones, one greedy row each.
std::vector<int32_t> PackStep(int32_t seqs, int32_t computed, int32_t tokens) {
  const int32_t blocks = (computed + tokens + kBlockSize - 1) / kBlockSize;
  std::vector<int32_t> w = {0x536b4e31, 1, 0, 0, seqs * tokens, seqs, seqs * blocks, seqs, 0, -1, -1, 0,
                            0,          0, 0, 0};
  for (int32_t i = 0; i < seqs * tokens; ++i) w.push_back(i * 7919 % kVocab);
  for (int32_t s = 0; s <= seqs; ++s) w.push_back(s * tokens);
  for (int32_t s = 0; s < seqs; ++s) w.push_back(computed);
  for (int32_t s = 0; s <= seqs; ++s) w.push_back(s * blocks);
  for (int32_t b = 0; b < seqs * blocks; ++b) w.push_back(b);
  for (int32_t s = 0; s < seqs; ++s) w.push_back((s + 1) * tokens - 1);
  for (const int32_t word : {-1, -1, 0, 0, std::bit_cast<int32_t>(1.0f), 0, 0, 0, 0, 0, -1}) {
    for (int32_t s = 0; s < seqs; ++s) w.push_back(word);
  }
  return w;
}

double RunSeconds(Runner& runner, std::vector<int32_t> words) {
  std::promise<Status> done;
  const auto start = Clock::now();
  runner.Run(std::move(words), std::chrono::seconds(100),
             [&](Status s, StepResult) { done.set_value(std::move(s)); });
  if (const Status s = done.get_future().get(); !s.ok()) Die(s);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

int Main(int argc, char** argv) {
  const size_t threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  const auto layers = static_cast<uint32_t>(argc > 3 ? std::atoi(argv[3]) : 16);
  ModelFile model(TensorDtype::kBF16);
  BuildModel(model, layers);
  std::shared_ptr<cpu::CpuDevice> device;
  if (Status s = cpu::CpuDevice::Create(threads, &device); !s.ok()) Die(s);
  Program program;
  if (Status s = Program::Create(model.spec, &program); !s.ok()) Die(s);
  const double weight_gb = static_cast<double>(program.weight_bytes) * 1e-9;
  std::unique_ptr<Runner> runner;
  if (Status s = Runner::Create(device, program, &runner); !s.ok()) Die(s);
  std::promise<Status> loaded;
  runner->Load([](uint64_t, uint64_t) {}, [&](Status s) { loaded.set_value(std::move(s)); });
  if (const Status s = loaded.get_future().get(); !s.ok()) Die(s);

  struct Case {
    const char* name;
    int32_t seqs, computed, tokens;
    std::vector<double> read_share, fma_share, rate;
    double flops = 0;
  };
  Case cases[] = {{"decode 1", 1, 64, 1, {}, {}, {}},
                  {"decode 4", 4, 64, 1, {}, {}, {}},
                  {"decode 16", 16, 64, 1, {}, {}, {}},
                  {"decode 32", 32, 64, 1, {}, {}, {}},
                  {"prefill 64", 1, 0, 64, {}, {}, {}},
                  {"prefill 256", 1, 0, 256, {}, {}, {}},
                  {"prefill 256 at 1024", 1, 1024, 256, {}, {}, {}}};
  std::vector<double> reads, fmas;
  for (int round = 0; round < rounds; ++round) {
    for (Case& c : cases) {
      cpu::Ceilings ceilings;
      if (Status s = cpu::MeasureCeilings(threads, 0.15, size_t{512} << 20, &ceilings); !s.ok()) Die(s);
      const double seconds = RunSeconds(*runner, PackStep(c.seqs, c.computed, c.tokens));
      const double n = c.seqs * c.tokens;
      const double layer_flops =
          2.0 * layers *
          (2.0 * kHidden * kHidden + 2.0 * kHidden * kKVHeads * kHeadDim + 3.0 * kHidden * kInter);
      const double attention = 4.0 * layers * kHeads * kHeadDim * (c.computed + (c.tokens + 1) / 2.0);
      const double flops = n * (layer_flops + attention) + 2.0 * c.seqs * kHidden * kVocab;
      c.flops = flops;
      c.read_share.push_back(weight_gb / seconds / ceilings.read_gbps);
      c.fma_share.push_back(flops * 1e-9 / seconds / ceilings.fma_gflops);
      c.rate.push_back(n / seconds);
      reads.push_back(ceilings.read_gbps);
      fmas.push_back(ceilings.fma_gflops);
    }
  }
  // The case's fastest turn over the highest ceiling of the run: what is left when others use the machine
  // too.
  const double top_read = *std::max_element(reads.begin(), reads.end()),
               top_fma = *std::max_element(fmas.begin(), fmas.end());
  const auto best = [&](const Case& c) {
    const double seconds = c.seqs * c.tokens / *std::max_element(c.rate.begin(), c.rate.end());
    return std::max(weight_gb / seconds / top_read, c.flops * 1e-9 / seconds / top_fma);
  };
  std::printf(
      "{\"commit\": null, \"hardware\": \"%s, %zu threads, read %.1f GB/s, f32 FMA %.1f GFLOP/s\", "
      "\"results\": [\n",
      device->instruction_level(), threads, Median(reads), Median(fmas));
  for (size_t i = 0; i < std::size(cases); ++i) {
    const Case& c = cases[i];
    const double read = Median(c.read_share), fma = Median(c.fma_share);
    std::printf(
        "  {\"name\": \"compute/%s\", \"value\": %.2f, \"unit\": \"tok/s\", \"limit\": \"%s\", "
        "\"limitShare\": %.3f, "
        "\"best\": %.3f, \"readShare\": %.3f, \"fmaShare\": %.3f}%s\n",
        c.name, Median(c.rate), read > fma ? "memory read" : "f32 FMA", std::max(read, fma), best(c), read,
        fma, i + 1 < std::size(cases) ? "," : "");
  }
  std::printf("]}\n");
  runner->Close();
  return 0;
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) { return skein::Main(argc, argv); }
