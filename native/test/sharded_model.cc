#include "sharded_model.h"

#include <algorithm>
#include <future>
#include <numeric>
#include <random>
#include <utility>

#include "check.h"
#include "rules_record.h"

namespace skein::test {
namespace {

class Sharder {
 public:
  Sharder(const ProgramSpec& whole, const TinyShape& shape, const Split& split, uint32_t rank)
      : whole_(whole), shape_(shape), split_(split), rank_(rank) {
    for (const Op& op : whole.ops) next_ = std::max(next_, op.out + 1);
  }

  ProgramSpec Make() {
    spec_ = whole_;
    spec_.ops.clear();
    spec_.groups = {{"tp", static_cast<uint32_t>(split_.size()), rank_}};
    for (KVCacheLayerSpec& layer : spec_.kv_cache.layers) layer.num_kv_heads = split_.kv_heads[rank_];
    size_t linear = 0;
    // Of a mixture the fifth is the router, which every rank has.
    const size_t linears = shape_.experts > 0 ? 5 : 7;
    for (const Op& op : whole_.ops) Cut(op, op.kind == OpKind::kLinear ? linear++ % linears : 0);
    return spec_;
  }

 private:
  /// `linear` is which of a layer's it is: q, k, v, o, gate, up, down.
  void Cut(Op op, size_t linear) {
    const uint32_t group = shape_.heads / shape_.kv_heads;
    switch (op.kind) {
      case OpKind::kEmbed:
        op.first_id = Before(split_.vocab);
        op.weight = Rows(op.weight, split_.vocab, 1);
        return Reduced(op, Reduction::kPick, -1);
      case OpKind::kLinear: {
        if (linear == 4 && shape_.experts > 0) return Keep(op);
        if (split_.sums && linear == 3) return Summed(op, split_.kv_heads, group * shape_.head_dim);
        if (split_.sums && linear == 6) return Summed(op, split_.inter, 1);
        const bool q = linear == 0, kv = linear == 1 || linear == 2, inner = linear == 4 || linear == 5;
        const std::vector<uint32_t>& counts = q || kv ? split_.kv_heads
                                              : inner ? split_.inter
                                                      : split_.hidden;
        const uint32_t unit = q ? group * shape_.head_dim : kv ? shape_.head_dim : 1;
        op.weight = Rows(op.weight, counts, unit);
        op.bias = Rows(op.bias, counts, unit);
        return q || kv || inner ? Keep(op) : Gathered(op, counts, unit);
      }
      case OpKind::kRope:
        op.num_heads = split_.kv_heads[rank_] * (op.num_heads == shape_.heads ? group : 1);
        return Keep(op);
      case OpKind::kAttention:
        op.num_kv_heads = split_.kv_heads[rank_];
        op.num_heads = op.num_kv_heads * group;
        return split_.sums ? Keep(op) : Gathered(op, split_.kv_heads, group * shape_.head_dim);
      case OpKind::kExperts:
        op.group = "tp";
        op.owners = split_.owners;
        op.sources.resize(split_.size());
        std::erase_if(op.experts, [&](const ExpertWeightIds& e) {
          const std::vector<uint32_t>& ranks = split_.owners[e.id];
          return std::find(ranks.begin(), ranks.end(), rank_) == ranks.end();
        });
        return Keep(op);
      case OpKind::kSiluMul:
        return split_.sums ? Keep(op) : Gathered(op, split_.inter, 1);
      case OpKind::kLogits:
        op.weight = Rows(op.weight, split_.vocab, 1);
        return Gathered(op, split_.vocab, 1);
      default:
        return Keep(op);
    }
  }
  void Keep(const Op& op) { spec_.ops.push_back(op); }
  void Gathered(Op op, std::vector<uint32_t> counts, uint32_t unit) {
    for (uint32_t& count : counts) count *= unit;
    Op gather{.kind = OpKind::kAllGather, .inputs = {next_, -1, -1}, .out = op.out};
    gather.group = "tp";
    gather.widths = std::move(counts);
    op.out = next_++;
    Keep(op);
    Keep(gather);
  }
  void Summed(Op op, const std::vector<uint32_t>& counts, uint32_t unit) {
    WeightSource weight = whole_.weights[static_cast<size_t>(op.weight)];
    weight.first_col = uint64_t{Before(counts)} * unit;
    weight.shape[1] = uint64_t{counts[rank_]} * unit;
    op.weight = static_cast<int64_t>(spec_.weights.size());
    spec_.weights.push_back(std::move(weight));
    const int64_t bias = op.bias;
    op.bias = -1;
    Reduced(op, Reduction::kSum, bias);
  }
  void Reduced(Op op, Reduction reduction, int64_t bias) {
    Op reduce{.kind = OpKind::kAllReduce, .inputs = {next_, -1, -1}, .out = op.out};
    reduce.group = "tp";
    reduce.reduction = reduction;
    reduce.bias = bias;
    op.out = next_++;
    Keep(op);
    Keep(reduce);
  }
  uint32_t Before(const std::vector<uint32_t>& counts) const {
    return std::accumulate(counts.begin(), counts.begin() + rank_, 0u);
  }
  /// This rank's rows of a weight, `unit` for each of what `counts` counts.
  int64_t Rows(int64_t id, const std::vector<uint32_t>& counts, uint32_t unit) {
    WeightSource weight = whole_.weights[static_cast<size_t>(id)];
    weight.first_row = uint64_t{Before(counts)} * unit;
    weight.shape[0] = uint64_t{counts[rank_]} * unit;
    spec_.weights.push_back(std::move(weight));
    return static_cast<int64_t>(spec_.weights.size()) - 1;
  }

  const ProgramSpec& whole_;
  const TinyShape& shape_;
  const Split& split_;
  const uint32_t rank_;
  ProgramSpec spec_;
  int64_t next_ = 0;
};

}  // namespace

ProgramSpec Shard(const ProgramSpec& whole, const TinyShape& shape, const Split& split, uint32_t rank) {
  return Sharder(whole, shape, split, rank).Make();
}

GroupRunners::GroupRunners(const std::vector<ProgramSpec>& specs, const Link& link, size_t threads) {
  for (const ProgramSpec& spec : specs) runners_.push_back(StartRunner(spec, threads));
  LinkAll(static_cast<uint32_t>(specs.size()), link, [&](uint32_t from, uint32_t to, const Ends& ends) {
    runners_[from]->BindSend(PeerOf("tp", to), ends.send);
    runners_[to]->BindReceive(PeerOf("tp", from), ends.receive);
  });
}

std::vector<Status> GroupRunners::Run(const std::vector<int32_t>& words,
                                      std::vector<std::vector<int32_t>>* outputs,
                                      std::chrono::milliseconds deadline) {
  std::vector<std::promise<Status>> done(size());
  outputs->assign(size(), {});
  for (size_t r = 0; r < size(); ++r) {
    runners_[r]->Run(words, deadline, [&, r](Status s, StepResult result) {
      (*outputs)[r] = std::move(result.words);
      done[r].set_value(std::move(s));
    });
  }
  std::vector<Status> results;
  for (auto& promise : done) results.push_back(promise.get_future().get());
  return results;
}

void SetStep(std::vector<int32_t>* words, int32_t step) { (*words)[2] = step; }

void CheckStep(Runner& whole, GroupRunners& ranks, const std::vector<int32_t>& words, bool keep_logits) {
  std::vector<int32_t> want;
  std::vector<float> logits, gathered;
  std::vector<std::vector<int32_t>> outputs;
  whole.KeepLogits(keep_logits);
  for (size_t r = 0; r < ranks.size(); ++r) ranks.at(r).KeepLogits(keep_logits);
  CHECK_OK(RunStep(whole, words, &want));
  for (const Status& status : ranks.Run(words, &outputs)) CHECK_OK(status);
  for (const std::vector<int32_t>& output : outputs) CHECK(output == want);
  CHECK_EQ(whole.CopyLogits(&logits), keep_logits);
  for (size_t r = 0; r < ranks.size(); ++r) {
    CHECK_EQ(ranks.at(r).CopyLogits(&gathered), keep_logits);
    if (keep_logits) CHECK(gathered == logits);
  }
}

void CheckGeneration(Runner& whole, GroupRunners& ranks, uint32_t vocab) {
  constexpr int32_t kSequences = 8;
  const auto row = [](int32_t i, int32_t token, int32_t step) {
    Row r{.token = token, .slot = i, .position = step};
    r.temperature = i % 4 == 0 ? 0.0f : 0.8f;
    if (i == 2) r.top_k = 5;
    if (i == 3) r.top_p = 0.7f;
    if (i == 4 || i == 5) r.num_logprobs = 3;
    if (i == 5 || i == 6) r.ruled = 1;
    if (i == 7) r.top_k = 64;
    return r;
  };
  std::vector<Sequence> prompts;
  std::vector<Row> rows;
  std::mt19937 random(9);
  int32_t tokens = 0;
  for (int32_t i = 0; i < kSequences; ++i) {
    Sequence s{{}, 0, {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3}};
    s.tokens.resize(static_cast<size_t>(1 + 5 * i));
    for (int32_t& id : s.tokens) id = static_cast<int32_t>(random() % vocab);
    tokens += static_cast<int32_t>(s.tokens.size());
    prompts.push_back(s);
    rows.push_back(row(i, tokens - 1, 0));
  }
  std::vector<int32_t> words =
      Pack(prompts, rows,
           {Record({.slot = 5, .repetition = 1.5f}), Record({.slot = 6, .min_tokens = 3, .stops = {9}})});
  for (int32_t step = 0; step < 4; ++step) {
    SetStep(&words, step);
    CheckStep(whole, ranks, words, step % 2 == 1);
    std::vector<Sequence> decodes;
    rows.clear();
    for (int32_t i = 0; i < kSequences; ++i) {
      const Sequence& p = prompts[static_cast<size_t>(i)];
      decodes.push_back({{-1 - i}, static_cast<int32_t>(p.tokens.size()) + step, p.blocks});
      rows.push_back(row(i, i, step + 1));
    }
    words = Pack(decodes, rows);
  }
  // A step whose tokens are all followed by known ones.
  CheckStep(whole, ranks, Pack({{{1, 2, 3}, 0, {40}}}, {}), false);
}

}  // namespace skein::test
