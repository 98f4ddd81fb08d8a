#include "levels.h"
#include "sharded_model.h"

// Programs of the ranks of a group against one rank that has all the weights: the same bits.
namespace skein::test {
namespace {

const std::vector<Split> kSplits = {
    {{1, 3}, {50, 26}, {7, 53}, {60, 37}},
    {{1, 2, 1}, {10, 33, 33}, {20, 1, 39}, {1, 95, 1}},
    {{1, 1, 1, 1}, {19, 19, 19, 19}, {15, 15, 15, 15}, {25, 25, 25, 22}},
};

std::vector<ProgramSpec> Shards(const ProgramSpec& whole, const TinyShape& shape, const Split& split) {
  std::vector<ProgramSpec> specs;
  for (uint32_t r = 0; r < split.size(); ++r) specs.push_back(Shard(whole, shape, split, r));
  return specs;
}

TEST(RanksComputeWhatOneDoes) {
  const TinyShape shape{.heads = 8, .kv_heads = 4};
  const TinyModel model(shape);
  ForEachLevel([&] {
    const auto whole = model.Start(2);
    for (const Split& split : kSplits) {
      if (kEmulated && split.size() > 2) continue;
      GroupRunners ranks(Shards(model.spec, shape, split), LinkPipe);
      CheckGeneration(*whole, ranks, shape.vocab);
    }
  });
}

TEST(RanksComputeWhatOneDoesWithIntegers) {
  const TinyShape shape{.heads = 8, .kv_heads = 4};
  TinyModel model(shape);
  for (WeightSource& weight : model.spec.weights) {
    if (weight.shape.size() == 2) weight.quantize = WeightQuantization::kInt8;
  }
  // The last rank's part of the head is padding.
  model.spec.vocab_size = 90;
  const auto whole = model.Start(1);
  GroupRunners ranks(Shards(model.spec, shape, kSplits[1]), LinkPipe, 2);
  CheckGeneration(*whole, ranks, model.spec.vocab_size);
}

// Columns of a weight continue the tree of partial sums over ranks.
TEST(RanksAddProductsOfTheirColumnsAsOneDoes) {
  const TinyShape shape{.hidden = 64, .inter = 512, .heads = 16, .kv_heads = 4, .head_dim = 32, .rotary = 32};
  TinyModel model(shape);
  for (const WeightQuantization quantize : {WeightQuantization::kNone, WeightQuantization::kInt8,
                                            WeightQuantization::kInt4, WeightQuantization::kFp8}) {
    for (WeightSource& weight : model.spec.weights) {
      if (weight.shape.size() == 2) weight.quantize = quantize;
    }
    const auto whole = model.Start(2);
    const Split two{{2, 2}, {256, 256}, {32, 32}, {50, 47}, {}, true};
    const Split four{{1, 1, 1, 1}, {128, 128, 128, 128}, {16, 16, 16, 16}, {25, 25, 25, 22}, {}, true};
    for (const Split& split : {two, four}) {
      if (kEmulated && split.size() > 2) continue;
      GroupRunners ranks(Shards(model.spec, shape, split), LinkPipe);
      CheckGeneration(*whole, ranks, shape.vocab);
    }
  }
}

TEST(RanksAddExpertsAsOneDoes) {
  const TinyShape shape{.inter = 20, .heads = 8, .kv_heads = 4, .experts = 7};
  TinyModel model(shape);
  for (const WeightQuantization quantize : {WeightQuantization::kNone, WeightQuantization::kInt4}) {
    for (WeightSource& weight : model.spec.weights) {
      if (weight.shape.size() == 2) weight.quantize = quantize;
    }
    const auto whole = model.Start(2);
    // In runs, in turns, one rank without any, and some on several.
    Split two = kSplits[0], three = kSplits[1], idle = kSplits[1], copied = kSplits[0];
    two.owners = {{0}, {0}, {0}, {0}, {1}, {1}, {1}};
    three.owners = {{2}, {0}, {1}, {2}, {2}, {1}, {2}};
    idle.owners = {{2}, {0}, {0}, {2}, {2}, {0}, {2}};
    copied.owners = {{0, 1}, {0}, {0, 1}, {0}, {1}, {0, 1}, {1}};
    for (const Split& split : {two, three, idle, copied}) {
      if (kEmulated && split.size() > 2) continue;
      GroupRunners ranks(Shards(model.spec, shape, split), LinkPipe);
      CheckGeneration(*whole, ranks, shape.vocab);
    }
  }
}

void ExpectRefused(const std::function<void(ProgramSpec&)>& change, const std::string& words) {
  static const TinyShape shape{.heads = 8, .kv_heads = 4};
  static const TinyModel model(shape);
  ProgramSpec spec = Shard(model.spec, shape, kSplits[0], 1);
  change(spec);
  Program program;
  const Status status = Program::Create(spec, &program);
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kInvalidArgument));
  if (status.message().find(words) == std::string::npos) CHECK_EQ(status.message(), words);
}

// 0 embed, 1 allReduce, 2 norm, 3 4 5 linear, 6 7 rope, 8 attention, 9 allGather, 10 linear, …
TEST(WrongOpsAmongRanksAreRefused) {
  ExpectRefused([](ProgramSpec& s) { s.groups.clear(), s.ops[0].first_id = 0, s.ops[0].weight = 0; },
                "op 1 (allReduce): group 'tp' is none of the program's 0");
  ExpectRefused([](ProgramSpec& s) { s.groups.clear(); },
                "op 0 (embed): weight 'w0' is [37, 60] of ids from 60 on, vocabSize is 97, and no group");
  ExpectRefused([](ProgramSpec& s) { s.groups[0].rank = 2; }, "group 'tp' has rank 2 of 2");
  ExpectRefused([](ProgramSpec& s) { s.groups[0].size = 0; }, "group 'tp' has rank 1 of 0");
  ExpectRefused([](ProgramSpec& s) { s.groups[0].size = 1000; }, "rank 1 of 1000, needs one of 1 to 256");
  ExpectRefused([](ProgramSpec& s) { s.groups.push_back(s.groups[0]); },
                "group 'tp' needs a name of its own");
  ExpectRefused([](ProgramSpec& s) { s.groups[0].rank = 0; },
                "op 9 (allGather): x is [tokens, 120], widths[0] is 40");
  ExpectRefused([](ProgramSpec& s) { s.ops[9].widths.push_back(1); },
                "widths has 3 entries, group 'tp' has 2 ranks");
  ExpectRefused([](ProgramSpec& s) { s.ops[9].widths[0] = 0; }, "op 9 (allGather): widths[0] is 0");
  ExpectRefused([](ProgramSpec& s) { s.ops[9].widths[0] = 41; },
                "op 10 (linear): x is [tokens, 161], weight 'w8' is [53, 160]");
  ExpectRefused([](ProgramSpec& s) { s.ops[1].bias = s.ops[3].bias; },
                "op 1 (allReduce): x is [tokens, 60], bias 'w3' is [120]");
}

}  // namespace
}  // namespace skein::test
