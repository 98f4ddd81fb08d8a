#include "core/program.h"

#include <functional>

#include "core/weights.h"
#include "tiny_model.h"

namespace skein::test {
namespace {

TensorSource& TensorOf(WeightSource& weight) { return std::get<PlainWeight>(weight.stored).tensor; }

void ExpectRefused(const std::function<void(ProgramSpec&)>& change, const std::string& words) {
  static const TinyModel model({});
  ProgramSpec spec = model.spec;
  change(spec);
  Program program;
  const Status status = Program::Create(spec, &program);
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kInvalidArgument));
  if (status.message().find(words) == std::string::npos) CHECK_EQ(status.message(), words);
}

// Ops of the tiny model: 0 embed, 1 norm, 2 3 4 linear, 5 6 rope, 7 attention, 8 linear, 9 add, 10 norm, …
TEST(WrongProgramsAreRefusedByOp) {
  ExpectRefused([](ProgramSpec& s) { s.ops[2].inputs[0] = 50; },
                "op 2 (linear): x 50 was not written before");
  ExpectRefused([](ProgramSpec& s) { s.ops[2].weight = 999; }, "weight 999 is none of the");
  ExpectRefused([](ProgramSpec& s) { s.ops[2].inputs[0] = 0, s.ops[2].weight = s.ops[8].weight; },
                "x is [tokens, 60], weight 'w8' is [60, 120]");
  ExpectRefused([](ProgramSpec& s) { s.ops[3].out = s.ops[2].out; }, "op 3 (linear): out 2 is written twice");
  ExpectRefused([](ProgramSpec& s) { s.ops[5].rotary_dim = 22; }, "rotaryDim 22");
  ExpectRefused([](ProgramSpec& s) { s.ops[5].num_heads = 5; }, "5 heads of 20 need 100");
  ExpectRefused([](ProgramSpec& s) { s.ops[7].cache_layer = 2; }, "cacheLayer 2");
  ExpectRefused([](ProgramSpec& s) { s.kv_cache.layers[0].head_dim = 21; },
                "needs a cache of 2 x 2 heads of 20, layer 0 has 2 x 2 heads of 21");
  ExpectRefused([](ProgramSpec& s) { s.ops[9].inputs[1] = 2; },
                "its inputs are [tokens, 60] and [tokens, 120]");
  ExpectRefused([](ProgramSpec& s) { s.vocab_size = 98; }, "vocabSize is 98");
  ExpectRefused([](ProgramSpec& s) { s.limits.max_tokens = 0; }, "limits.maxTokens is 0");
  ExpectRefused([](ProgramSpec& s) { TensorOf(s.weights[0]).size_bytes -= 1; }, "sizeBytes is");
  ExpectRefused(
      [](ProgramSpec& s) { TensorOf(s.weights[0]).shape = s.weights[0].shape = {1u << 31, 1u << 31}; },
      "shape needs");
  ExpectRefused(
      [](ProgramSpec& s) {
        s.kv_cache.num_blocks = 1u << 28, s.kv_cache.block_size = 1u << 28,
        s.kv_cache.layers[0].head_dim = UINT32_MAX;
      },
      "impossible");
  ExpectRefused([](ProgramSpec& s) { s.ops.push_back({.kind = OpKind::kSendTokens}); }, "peer is empty");
  ExpectRefused(
      [](ProgramSpec& s) {
        s.ops.resize(1);
        s.ops.push_back(
            {.kind = OpKind::kSend, .inputs = {0, -1, -1}, .first_col = 40, .width = 30, .peer = "next"});
      },
      "sends 30 columns from 40 on of 60");
}

TEST(LiveBuffersDoNotOverlap) {
  const TinyModel model({});
  Program program;
  CHECK_OK(Program::Create(model.spec, &program));
  size_t sum = 0;
  for (size_t i = 0; i < program.values.size(); ++i) {
    const auto bytes = [&](const Value& v) {
      return (v.rows == RowKind::kToken ? model.spec.limits.max_tokens : model.spec.limits.max_rows) *
             v.stride * sizeof(float);
    };
    const Value& a = program.values[i];
    CHECK(a.offset + bytes(a) <= program.arena_bytes);
    sum += bytes(a);
    for (size_t j = 0; j < i; ++j) {
      const Value& b = program.values[j];
      const bool together = a.first_op <= b.last_op && b.first_op <= a.last_op;
      CHECK(!together || a.offset + bytes(a) <= b.offset || b.offset + bytes(b) <= a.offset);
    }
  }
  CHECK(program.arena_bytes < sum / 2);
}

TEST(FilesAreCheckedAgainstTheirSize) {
  const TinyModel model({});
  const std::atomic<bool> never{false};
  ThreadPool pool(2);
  const auto load = [&](std::vector<WeightSource> sources) {
    ProgramSpec spec = model.spec;
    spec.weights = std::move(sources);
    WeightStore store;
    return store.Load(spec, &pool, [](uint64_t, uint64_t) {}, never);
  };
  CHECK_OK(load(model.spec.weights));
  auto sources = model.spec.weights;
  TensorOf(sources.back()).offset_bytes += 2;
  CHECK_EQ(static_cast<int>(load(sources).code()), static_cast<int>(Code::kFile));
  TensorOf(sources.back()).offset_bytes = UINT64_MAX - 3;
  CHECK_EQ(static_cast<int>(load(sources).code()), static_cast<int>(Code::kFile));
  TensorOf(sources[0]).file = "/nowhere/weights";
  CHECK_EQ(static_cast<int>(load(sources).code()), static_cast<int>(Code::kFile));
  sources = model.spec.weights;
  // Odd offsets are read as well.
  TensorOf(sources[0]).offset_bytes = 1;
  CHECK_OK(load(sources));
}

}  // namespace
}  // namespace skein::test
