#include "tiny_model.h"

#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <future>
#include <utility>

#include "core/float_bits.h"
#include "cpu/cpu_device.h"

namespace skein::test {

TensorDtype TensorDtypeOf(Dtype dtype) {
  return dtype == Dtype::kF32   ? TensorDtype::kF32
         : dtype == Dtype::kF16 ? TensorDtype::kF16
                                : TensorDtype::kBF16;
}

uint16_t Narrow(Dtype dtype, float v) { return dtype == Dtype::kF16 ? F16FromFloat(v) : BF16FromFloat(v); }

std::unique_ptr<Runner> StartRunner(const ProgramSpec& spec, size_t threads) {
  std::shared_ptr<cpu::CpuDevice> device;
  CHECK_OK(cpu::CpuDevice::Create(threads, &device));
  Program program;
  CHECK_OK(Program::Create(spec, &program));
  std::unique_ptr<Runner> runner;
  CHECK_OK(Runner::Create(device, std::move(program), &runner));
  std::promise<Status> loaded;
  runner->Load([](uint64_t, uint64_t) {}, [&](Status s) { loaded.set_value(std::move(s)); });
  CHECK_OK(loaded.get_future().get());
  return runner;
}

TinyModel::TinyModel(const TinyShape& shape) : shape_(shape) {
  const int fd = mkstemp(path_.data());
  CHECK(fd >= 0);
  file_ = fdopen(fd, "wb");
  Build();
  std::fclose(file_);
}

TinyModel::~TinyModel() { unlink(path_.c_str()); }

int64_t TinyModel::Weight(std::vector<uint64_t> shape) {
  uint64_t count = 1;
  for (const uint64_t n : shape) count *= n;
  std::normal_distribution<float> normal(shape.size() == 1 ? 1.0f : 0.0f, 0.3f);
  for (uint64_t i = 0; i < count; ++i) {
    const float v = normal(random_);
    const uint16_t half = Narrow(shape_.weights, v);
    std::fwrite(shape_.weights == Dtype::kF32 ? static_cast<const void*>(&v) : &half,
                DtypeBytes(shape_.weights), 1, file_);
  }
  const uint64_t bytes = count * DtypeBytes(shape_.weights);
  spec.weights.push_back(PlainSource({"w" + std::to_string(spec.weights.size()), path_, size_, bytes,
                                      TensorDtypeOf(shape_.weights), shape}));
  size_ += bytes;
  return static_cast<int64_t>(spec.weights.size()) - 1;
}

int64_t TinyModel::Add(Op op) {
  op.out = next_++;
  spec.ops.push_back(op);
  return op.out;
}

int64_t TinyModel::Linear(int64_t x, uint64_t n, uint64_t k) {
  Op op{.kind = OpKind::kLinear, .inputs = {x, -1, -1}};
  op.weight = Weight({n, k});
  op.bias = Weight({n});
  return Add(op);
}

int64_t TinyModel::Norm(int64_t x) {
  Op op{.kind = OpKind::kRmsNorm, .inputs = {x, -1, -1}};
  op.weight = Weight({shape_.hidden});
  op.eps = 1e-5f;
  return Add(op);
}

int64_t TinyModel::Mixture(int64_t x) {
  const TinyShape& s = shape_;
  Op route{.kind = OpKind::kRoute, .inputs = {Linear(x, s.experts, s.hidden), -1, -1}};
  route.route.top_k = 3;
  Op op{.kind = OpKind::kExperts, .inputs = {x, Add(route), -1}};
  for (uint32_t e = 0; e < s.experts; ++e) {
    const int64_t gate = Weight({s.inter, s.hidden}), up = Weight({s.inter, s.hidden});
    op.experts.push_back({e, gate, up, Weight({s.hidden, s.inter})});
  }
  return Add(op);
}

int64_t TinyModel::Rope(int64_t x, uint32_t heads) {
  Op op{.kind = OpKind::kRope, .inputs = {x, -1, -1}};
  op.num_heads = heads;
  op.head_dim = shape_.head_dim;
  op.rotary_dim = shape_.rotary;
  for (uint32_t i = 0; i < shape_.rotary / 2; ++i)
    op.inverse_frequencies.push_back(1.0f / static_cast<float>(1 + i));
  return Add(op);
}

void TinyModel::Build() {
  const TinyShape& s = shape_;
  Op embed{.kind = OpKind::kEmbed};
  embed.weight = Weight({s.vocab, s.hidden});
  int64_t x = Add(embed);
  for (uint32_t layer = 0; layer < 2; ++layer) {
    const int64_t h = Norm(x);
    const int64_t q = Linear(h, s.heads * s.head_dim, s.hidden),
                  k = Linear(h, s.kv_heads * s.head_dim, s.hidden),
                  v = Linear(h, s.kv_heads * s.head_dim, s.hidden);
    Op attention{.kind = OpKind::kAttention, .inputs = {Rope(q, s.heads), Rope(k, s.kv_heads), v}};
    attention.num_heads = s.heads;
    attention.num_kv_heads = s.kv_heads;
    attention.head_dim = s.head_dim;
    attention.cache_layer = layer;
    attention.scale = 0.2f;
    x = Add(
        {.kind = OpKind::kAdd, .inputs = {x, Linear(Add(attention), s.hidden, s.heads * s.head_dim), -1}});
    const int64_t m = Norm(x);
    if (s.experts > 0) {
      x = Add({.kind = OpKind::kAdd, .inputs = {x, Mixture(m), -1}});
      continue;
    }
    const int64_t gate = Linear(m, s.inter, s.hidden), up = Linear(m, s.inter, s.hidden);
    const int64_t act = Add({.kind = OpKind::kSiluMul, .inputs = {gate, up, -1}});
    x = Add({.kind = OpKind::kAdd, .inputs = {x, Linear(act, s.hidden, s.inter), -1}});
  }
  x = Add({.kind = OpKind::kGatherRows, .inputs = {Norm(x), -1, -1}});
  Op logits{.kind = OpKind::kLogits, .inputs = {x, -1, -1}};
  logits.weight = embed.weight;
  const int64_t out = Add(logits);
  spec.ops.push_back({.kind = OpKind::kSample, .inputs = {out, -1, -1}});
  spec.vocab_size = s.vocab;
  spec.limits = {700, 80, 200, s.max_len, 4, 8};
  spec.kv_cache = {s.num_blocks, s.block_size, s.cache, {2, {s.kv_heads, s.head_dim}}};
}

std::vector<int32_t> Pack(const std::vector<Sequence>& sequences, const std::vector<Row>& rows,
                          const std::vector<std::vector<int32_t>>& rules) {
  std::vector<int32_t> tokens, starts{0}, computed, block_starts{0}, blocks, rule_starts{0}, rule_words;
  for (const Sequence& s : sequences) {
    tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    starts.push_back(static_cast<int32_t>(tokens.size()));
    computed.push_back(s.computed);
    blocks.insert(blocks.end(), s.blocks.begin(), s.blocks.end());
    block_starts.push_back(static_cast<int32_t>(blocks.size()));
  }
  for (const auto& record : rules) {
    rule_words.insert(rule_words.end(), record.begin(), record.end());
    rule_starts.push_back(static_cast<int32_t>(rule_words.size()));
  }
  const auto n = [](size_t v) { return static_cast<int32_t>(v); };
  std::vector<int32_t> w = {0x536b4e31,
                            2,
                            0,
                            0,
                            n(tokens.size()),
                            n(sequences.size()),
                            n(blocks.size()),
                            n(rows.size()),
                            4,
                            -1,
                            -1,
                            n(rules.size()),
                            n(rule_words.size()),
                            0,
                            0,
                            0};
  for (const auto* section : {&tokens, &starts, &computed, &block_starts, &blocks}) {
    w.insert(w.end(), section->begin(), section->end());
  }
  const auto column = [&](const auto& value) {
    for (const Row& row : rows) w.push_back(value(row));
  };
  column([](const Row& r) { return r.token; });
  column([](const Row& r) { return r.target; });
  column([](const Row& r) { return r.slot; });
  column([](const Row& r) { return std::bit_cast<int32_t>(r.temperature); });
  column([](const Row& r) { return r.top_k; });
  column([](const Row& r) { return std::bit_cast<int32_t>(r.top_p); });
  column([](const Row&) { return 0; });
  column([](const Row&) { return 11; });
  column([](const Row&) { return 0; });
  column([](const Row&) { return 0; });
  column([](const Row& r) { return r.position < 0 ? r.token : r.position; });
  column([](const Row& r) { return r.num_logprobs; });
  column([](const Row& r) { return r.ruled; });
  for (const auto* section : {&rule_starts, &rule_words}) w.insert(w.end(), section->begin(), section->end());
  return w;
}

Status RunStep(Runner& runner, std::vector<int32_t> words, std::vector<int32_t>* output) {
  std::promise<Status> done;
  runner.Run(std::move(words), std::chrono::seconds(60), [&](Status s, StepResult result) {
    if (output != nullptr) *output = std::move(result.words);
    done.set_value(std::move(s));
  });
  return done.get_future().get();
}

std::vector<float> Logits(Runner& runner, std::vector<int32_t> words) {
  runner.KeepLogits(true);
  CHECK_OK(RunStep(runner, std::move(words)));
  std::vector<float> logits;
  CHECK(runner.CopyLogits(&logits));
  return logits;
}

}  // namespace skein::test
