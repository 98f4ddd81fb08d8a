#include "core/program.h"

#include <cmath>
#include <utility>

#include "core/buffer_plan.h"
#include "core/checked_math.h"
#include "core/kv_cache.h"
#include "core/weights.h"

namespace skein {
namespace {

// Bounds that keep every later product of two of these inside size_t and every id inside int32.
constexpr uint64_t kMaxDim = uint64_t{1} << 28;
constexpr size_t kMaxOps = 100'000;
constexpr int64_t kMaxValues = 1'000'000;

std::string Shape(const TensorSource& source) {
  std::string text = "[";
  for (size_t i = 0; i < source.shape.size(); ++i) text += (i ? ", " : "") + std::to_string(source.shape[i]);
  return text + "]";
}

std::string Width(const Value& value) {
  return std::string(value.rows == RowKind::kToken ? "[tokens, " : "[rows, ") + std::to_string(value.width) +
         "]";
}

/// Walks the ops in order, defining values as it goes.
class Checker {
 public:
  Checker(const ProgramSpec& spec, Program* program) : spec_(spec), program_(program) {}

  Status Run() {
    for (index_ = 0; index_ < spec_.ops.size(); ++index_) {
      if (Status s = CheckOp(spec_.ops[index_]); !s.ok()) return s;
    }
    return Status::Ok();
  }

 private:
  Status Fail(const std::string& what) const {
    return {Code::kInvalidArgument,
            "op " + std::to_string(index_) + " (" + OpName(spec_.ops[index_].kind) + "): " + what};
  }

  Status Input(int64_t id, const char* name, RowKind rows, const Value** out) {
    if (id < 0 || id >= static_cast<int64_t>(program_->values.size()) ||
        !program_->values[static_cast<size_t>(id)].defined) {
      return Fail(std::string(name) + " " + std::to_string(id) + " was not written before");
    }
    Value& value = program_->values[static_cast<size_t>(id)];
    if (value.rows != rows)
      return Fail(std::string(name) + " is " + Width(value) + ", the other kind of rows is needed");
    value.last_op = index_;
    *out = &value;
    return Status::Ok();
  }

  Status Output(int64_t id, size_t width, RowKind rows, bool packed = false) {
    if (id < 0 || id >= kMaxValues) return Fail("out " + std::to_string(id) + " is out of range");
    if (width == 0 || width > kMaxDim) return Fail("width " + std::to_string(width) + " is out of range");
    if (program_->values.size() <= static_cast<size_t>(id))
      program_->values.resize(static_cast<size_t>(id) + 1);
    Value& value = program_->values[static_cast<size_t>(id)];
    if (value.defined) return Fail("out " + std::to_string(id) + " is written twice");
    value = {.defined = true,
             .width = width,
             .rows = rows,
             .first_op = index_,
             .last_op = index_,
             .packed = packed};
    return Status::Ok();
  }

  Status Weight(int64_t id, const char* name, size_t dims, const TensorSource** out) const {
    if (id < 0 || id >= static_cast<int64_t>(spec_.weights.size())) {
      return Fail(std::string(name) + " " + std::to_string(id) + " is none of the " +
                  std::to_string(spec_.weights.size()) + " weights");
    }
    *out = &spec_.weights[static_cast<size_t>(id)];
    if ((*out)->shape.size() != dims) {
      return Fail(std::string(name) + " '" + (*out)->name + "' is " + Shape(**out) + ", " +
                  std::to_string(dims) + " dimensions are needed");
    }
    return Status::Ok();
  }

  Status Heads(const Value& x, const char* name, uint64_t heads, uint64_t head_dim) const {
    if (heads == 0 || head_dim == 0 || heads * head_dim != x.width) {
      return Fail(std::string(name) + " is " + Width(x) + ", " + std::to_string(heads) + " heads of " +
                  std::to_string(head_dim) + " need " + std::to_string(heads * head_dim));
    }
    return Status::Ok();
  }

  Status SoftCap(const Op& op) const {
    const bool ok = op.soft_cap >= 0 && std::isfinite(op.soft_cap);
    return ok ? Status::Ok() : Fail("softCap is not a number > 0");
  }

  Status Peer(const Op& op) const { return op.peer.empty() ? Fail("peer is empty") : Status::Ok(); }

  Status CheckOp(const Op& op) {
    switch (op.kind) {
      case OpKind::kEmbed: {
        const TensorSource* weight;
        if (Status s = Weight(op.weight, "weight", 2, &weight); !s.ok()) return s;
        if (weight->shape[0] < spec_.vocab_size) {
          return Fail("weight '" + weight->name + "' is " + Shape(*weight) + ", vocabSize is " +
                      std::to_string(spec_.vocab_size));
        }
        if (!std::isfinite(op.scale)) return Fail("scale is not finite");
        return Output(op.out, weight->shape[1], RowKind::kToken);
      }
      case OpKind::kRmsNorm:
        return CheckRmsNorm(op);
      case OpKind::kLinear:
      case OpKind::kLogits:
        return CheckLinear(op);
      case OpKind::kRope: {
        const Value* x;
        if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
        if (Status s = Heads(*x, "x", op.num_heads, op.head_dim); !s.ok()) return s;
        if (op.rotary_dim == 0 || op.rotary_dim % 2 != 0 || op.rotary_start > op.head_dim ||
            op.rotary_dim > op.head_dim - op.rotary_start ||
            op.inverse_frequencies.size() != op.rotary_dim / 2) {
          return Fail("rotaryDim " + std::to_string(op.rotary_dim) + " from " +
                      std::to_string(op.rotary_start) + " with " +
                      std::to_string(op.inverse_frequencies.size()) + " inverseFrequencies in heads of " +
                      std::to_string(op.head_dim));
        }
        for (const float f : op.inverse_frequencies) {
          if (!std::isfinite(f)) return Fail("an inverse frequency is not finite");
        }
        return Output(op.out, x->width, RowKind::kToken);
      }
      case OpKind::kAttention:
        return CheckAttention(op);
      case OpKind::kAbsorbKey:
        return CheckAbsorbKey(op);
      case OpKind::kLatentAttention:
        return CheckLatentAttention(op);
      case OpKind::kExpandValue:
        return CheckExpandValue(op);
      case OpKind::kRoute:
        return CheckRoute(op);
      case OpKind::kExperts:
        return CheckExperts(op);
      case OpKind::kSiluMul:
      case OpKind::kGeluTanhMul:
      case OpKind::kAdd: {
        const Value *a, *b;
        const bool gated = op.kind != OpKind::kAdd;
        const auto kind = RowKindOf(op.inputs[0]);
        if (Status s = Input(op.inputs[0], gated ? "gate" : "a", kind, &a); !s.ok()) return s;
        if (Status s = Input(op.inputs[1], gated ? "up" : "b", kind, &b); !s.ok()) return s;
        if (a->width != b->width) return Fail("its inputs are " + Width(*a) + " and " + Width(*b));
        return Output(op.out, a->width, kind);
      }
      case OpKind::kGatherRows: {
        const Value* x;
        if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
        return Output(op.out, x->width, RowKind::kLogitRow);
      }
      case OpKind::kSample: {
        const Value* logits;
        if (Status s = Input(op.inputs[0], "logits", RowKind::kLogitRow, &logits); !s.ok()) return s;
        if (logits->width < spec_.vocab_size) {
          return Fail("logits is " + Width(*logits) + ", vocabSize is " + std::to_string(spec_.vocab_size));
        }
        if (program_->samples) return Fail("a program samples once");
        program_->samples = true;
        return Status::Ok();
      }
      case OpKind::kSend: {
        const Value* x;
        if (Status s = Peer(op); !s.ok()) return s;
        if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
        program_->values[static_cast<size_t>(op.inputs[0])].packed = true;
        return Status::Ok();
      }
      case OpKind::kRecv:
        if (Status s = Peer(op); !s.ok()) return s;
        return Output(op.out, op.width, RowKind::kToken, true);
      case OpKind::kSendTokens:
        if (!program_->samples) return Fail("comes before any sample");
        return Peer(op);
      case OpKind::kRecvTokens:
        return Peer(op);
    }
    return Fail("unknown op");
  }

  RowKind RowKindOf(int64_t id) const {
    const bool known = id >= 0 && id < static_cast<int64_t>(program_->values.size());
    return known ? program_->values[static_cast<size_t>(id)].rows : RowKind::kToken;
  }

  Status CheckRmsNorm(const Op& op) {
    const Value* x;
    const TensorSource* weight;
    const auto kind = RowKindOf(op.inputs[0]);
    if (Status s = Input(op.inputs[0], "x", kind, &x); !s.ok()) return s;
    if (Status s = Weight(op.weight, "weight", 1, &weight); !s.ok()) return s;
    if (!(op.eps >= 0) || !std::isfinite(op.eps)) return Fail("eps is not a number >= 0");
    if (!std::isfinite(op.weight_offset)) return Fail("weightOffset is not finite");
    // A shorter weight normalises each head on its own, as Qwen3 does with q and k.
    if (x->width % weight->shape[0] != 0) {
      return Fail("x is " + Width(*x) + ", weight '" + weight->name + "' is " + Shape(*weight));
    }
    return Output(op.out, x->width, kind);
  }

  Status CheckLinear(const Op& op) {
    const bool logits = op.kind == OpKind::kLogits;
    const Value* x;
    const TensorSource* weight;
    const auto kind = logits ? RowKind::kLogitRow : RowKindOf(op.inputs[0]);
    if (Status s = Input(op.inputs[0], "x", kind, &x); !s.ok()) return s;
    if (Status s = Weight(op.weight, "weight", 2, &weight); !s.ok()) return s;
    if (weight->shape[1] != x->width) {
      return Fail("x is " + Width(*x) + ", weight '" + weight->name + "' is " + Shape(*weight));
    }
    if (op.bias >= 0) {
      const TensorSource* bias;
      if (Status s = Weight(op.bias, "bias", 1, &bias); !s.ok()) return s;
      if (bias->shape[0] != weight->shape[0]) {
        return Fail("weight '" + weight->name + "' is " + Shape(*weight) + ", bias '" + bias->name + "' is " +
                    Shape(*bias));
      }
    }
    if (Status s = SoftCap(op); !s.ok()) return s;
    if (logits) {
      if (program_->logits >= 0) return Fail("a program has one logits op");
      program_->logits = op.out;
    }
    return Output(op.out, weight->shape[0], kind);
  }

  Status CheckCacheLayer(const Op& op, const KVCacheLayerSpec& need) const {
    if (op.cache_layer >= spec_.kv_cache.layers.size()) {
      return Fail("cacheLayer " + std::to_string(op.cache_layer) + " is none of the " +
                  std::to_string(spec_.kv_cache.layers.size()) + " layers");
    }
    const KVCacheLayerSpec& layer = spec_.kv_cache.layers[op.cache_layer];
    if (layer != need) {
      const auto text = [](const KVCacheLayerSpec& l) {
        return std::to_string(l.num_parts) + " x " + std::to_string(l.num_kv_heads) + " heads of " +
               std::to_string(l.head_dim);
      };
      return Fail("needs a cache of " + text(need) + ", layer " + std::to_string(op.cache_layer) + " has " +
                  text(layer));
    }
    return Status::Ok();
  }

  Status CheckAttention(const Op& op) {
    const Value *q, *k, *v;
    if (Status s = Input(op.inputs[0], "q", RowKind::kToken, &q); !s.ok()) return s;
    if (Status s = Input(op.inputs[1], "k", RowKind::kToken, &k); !s.ok()) return s;
    if (Status s = Input(op.inputs[2], "v", RowKind::kToken, &v); !s.ok()) return s;
    if (Status s = Heads(*q, "q", op.num_heads, op.head_dim); !s.ok()) return s;
    if (Status s = Heads(*k, "k", op.num_kv_heads, op.head_dim); !s.ok()) return s;
    if (Status s = Heads(*v, "v", op.num_kv_heads, op.head_dim); !s.ok()) return s;
    if (op.num_heads % op.num_kv_heads != 0) {
      return Fail(std::to_string(op.num_heads) + " heads cannot share " + std::to_string(op.num_kv_heads) +
                  " KV heads");
    }
    if (Status s = CheckCacheLayer(op, {op.num_kv_heads, op.head_dim, 2}); !s.ok()) return s;
    if (!std::isfinite(op.scale)) return Fail("scale is not finite");
    if (Status s = SoftCap(op); !s.ok()) return s;
    return Output(op.out, q->width, RowKind::kToken);
  }

  /// kv_b_proj: for each head nope_dim rows that make its keys, then value_dim rows that make its values.
  Status LatentWeight(const Op& op) const {
    const TensorSource* weight;
    if (Status s = Weight(op.weight, "weight", 2, &weight); !s.ok()) return s;
    const LatentShape& l = op.latent;
    if (op.num_heads == 0 || l.nope_dim == 0 || l.value_dim == 0 || l.latent_dim == 0 ||
        weight->shape[0] != uint64_t{op.num_heads} * (uint64_t{l.nope_dim} + l.value_dim) ||
        weight->shape[1] != l.latent_dim) {
      return Fail("weight '" + weight->name + "' is " + Shape(*weight) + ", " + std::to_string(op.num_heads) +
                  " heads of " + std::to_string(l.nope_dim) + " + " + std::to_string(l.value_dim) +
                  " rows and " + std::to_string(l.latent_dim) + " columns are needed");
    }
    return Status::Ok();
  }

  Status CheckAbsorbKey(const Op& op) {
    const Value* q;
    const LatentShape& l = op.latent;
    if (Status s = Input(op.inputs[0], "q", RowKind::kToken, &q); !s.ok()) return s;
    if (Status s = LatentWeight(op); !s.ok()) return s;
    if (Status s = Heads(*q, "q", op.num_heads, uint64_t{l.nope_dim} + l.rope_dim); !s.ok()) return s;
    return Output(op.out, size_t{op.num_heads} * (size_t{l.latent_dim} + l.rope_dim), RowKind::kToken);
  }

  Status CheckLatentAttention(const Op& op) {
    const Value *q, *latent, *key_rope;
    const LatentShape& l = op.latent;
    if (Status s = Input(op.inputs[0], "q", RowKind::kToken, &q); !s.ok()) return s;
    if (Status s = Input(op.inputs[1], "latent", RowKind::kToken, &latent); !s.ok()) return s;
    if (Status s = Input(op.inputs[2], "keyRope", RowKind::kToken, &key_rope); !s.ok()) return s;
    if (Status s = Heads(*q, "q", op.num_heads, uint64_t{l.latent_dim} + l.rope_dim); !s.ok()) return s;
    if (Status s = Heads(*latent, "latent", 1, l.latent_dim); !s.ok()) return s;
    if (Status s = Heads(*key_rope, "keyRope", 1, l.rope_dim); !s.ok()) return s;
    if (Status s = CheckCacheLayer(op, {1, l.latent_dim + l.rope_dim, 1}); !s.ok()) return s;
    if (!std::isfinite(op.scale)) return Fail("scale is not finite");
    return Output(op.out, size_t{op.num_heads} * l.latent_dim, RowKind::kToken);
  }

  Status CheckExpandValue(const Op& op) {
    const Value* x;
    if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
    if (Status s = LatentWeight(op); !s.ok()) return s;
    if (Status s = Heads(*x, "x", op.num_heads, op.latent.latent_dim); !s.ok()) return s;
    return Output(op.out, size_t{op.num_heads} * op.latent.value_dim, RowKind::kToken);
  }

  Status CheckRoute(const Op& op) {
    const Value* logits;
    const RouteSpec& r = op.route;
    if (Status s = Input(op.inputs[0], "logits", RowKind::kToken, &logits); !s.ok()) return s;
    const size_t experts = logits->width;
    if (op.bias >= 0) {
      const TensorSource* bias;
      if (Status s = Weight(op.bias, "correctionBias", 1, &bias); !s.ok()) return s;
      if (bias->shape[0] != experts)
        return Fail("logits is " + Width(*logits) + ", correctionBias '" + bias->name + "' is " +
                    Shape(*bias));
    }
    // Ids travel as floats, which hold them exactly below 2^24.
    if (experts >= size_t{1} << 24 || r.num_groups == 0 || experts % r.num_groups != 0 ||
        r.top_k_groups == 0 || r.top_k_groups > r.num_groups || r.top_k == 0 ||
        r.top_k > uint64_t{r.top_k_groups} * (experts / r.num_groups)) {
      return Fail("cannot pick " + std::to_string(r.top_k) + " of " + std::to_string(experts) +
                  " experts from " + std::to_string(r.top_k_groups) + " of " + std::to_string(r.num_groups) +
                  " groups");
    }
    if (!std::isfinite(r.scale)) return Fail("scale is not finite");
    if (Status s = Output(op.out, size_t{2} * r.top_k, RowKind::kToken); !s.ok()) return s;
    program_->values[static_cast<size_t>(op.out)].routed_experts = experts;
    return Status::Ok();
  }

  Status CheckExperts(const Op& op) {
    const Value *x, *routes;
    if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
    if (Status s = Input(op.inputs[1], "routes", RowKind::kToken, &routes); !s.ok()) return s;
    if (routes->routed_experts == 0)
      return Fail("routes " + std::to_string(op.inputs[1]) + " is no route's output");
    if (op.experts.empty()) return Fail("has no experts");
    uint64_t next_id = 0, inter = 0;
    for (const ExpertWeightIds& e : op.experts) {
      const TensorSource *gate, *up, *down;
      if (Status s = Weight(e.gate, "gate", 2, &gate); !s.ok()) return s;
      if (Status s = Weight(e.up, "up", 2, &up); !s.ok()) return s;
      if (Status s = Weight(e.down, "down", 2, &down); !s.ok()) return s;
      if (e.id < next_id || e.id >= routes->routed_experts) {
        return Fail("expert " + std::to_string(e.id) + " is out of order or none of " +
                    std::to_string(routes->routed_experts));
      }
      next_id = uint64_t{e.id} + 1;
      if (inter == 0) inter = gate->shape[0];
      const std::vector<uint64_t> in{inter, x->width}, out{x->width, inter};
      if (gate->shape != in || up->shape != in || down->shape != out) {
        return Fail("expert " + std::to_string(e.id) + " has gate " + Shape(*gate) + ", up " + Shape(*up) +
                    " and down " + Shape(*down) + ", x is " + Width(*x) +
                    " and the first expert's inner size " + std::to_string(inter));
      }
    }
    return Output(op.out, x->width, RowKind::kToken);
  }

  const ProgramSpec& spec_;
  Program* program_;
  size_t index_ = 0;
};

Status CheckLimits(const ProgramSpec& spec) {
  const ProgramLimits& l = spec.limits;
  const std::pair<const char*, uint64_t> positive[] = {{"vocabSize", spec.vocab_size},
                                                       {"limits.maxTokens", l.max_tokens},
                                                       {"limits.maxSeqs", l.max_seqs},
                                                       {"limits.maxRows", l.max_rows},
                                                       {"limits.maxModelLen", l.max_model_len},
                                                       {"kvCache.numBlocks", spec.kv_cache.num_blocks},
                                                       {"kvCache.blockSize", spec.kv_cache.block_size}};
  for (const auto& [name, value] : positive) {
    if (value == 0 || value > kMaxDim) {
      return {Code::kInvalidArgument,
              std::string(name) + " is " + std::to_string(value) + ", needs 1 to " + std::to_string(kMaxDim)};
    }
  }
  if (l.max_logprobs > spec.vocab_size || l.num_slots > kMaxDim) {
    return {Code::kInvalidArgument, "limits.maxLogprobs " + std::to_string(l.max_logprobs) +
                                        " or limits.numSlots " + std::to_string(l.num_slots) +
                                        " is too large"};
  }
  if (spec.ops.size() > kMaxOps) {
    return {Code::kInvalidArgument,
            "ops has " + std::to_string(spec.ops.size()) + " entries, at most " + std::to_string(kMaxOps)};
  }
  return Status::Ok();
}

}  // namespace

const char* OpName(OpKind kind) {
  static constexpr const char* kNames[] = {
      "embed",       "rmsNorm", "linear",      "rope", "attention",  "absorbKey", "latentAttention",
      "expandValue", "siluMul", "geluTanhMul", "add",  "route",      "experts",   "gatherRows",
      "logits",      "sample",  "send",        "recv", "sendTokens", "recvTokens"};
  return kNames[static_cast<size_t>(kind)];
}

Status Program::Create(ProgramSpec spec, Program* out) {
  Program program;
  if (Status s = CheckLimits(spec); !s.ok()) return s;
  for (const TensorSource& source : spec.weights) {
    if (Status s = CheckTensorSource(source); !s.ok()) return s;
    if (!CheckedAdd(program.weight_bytes, source.size_bytes, &program.weight_bytes)) {
      return {Code::kInvalidArgument, "the weights do not fit in memory"};
    }
  }
  if (Status s = KVCacheBytes(spec.kv_cache, &program.kv_cache_bytes); !s.ok()) return s;
  if (Status s = Checker(spec, &program).Run(); !s.ok()) return s;
  program.arena_bytes = PlanBuffers(spec.limits, program.logits, &program.values);
  if (program.arena_bytes == 0) return {Code::kInvalidArgument, "the buffers do not fit in memory"};
  program.spec = std::move(spec);
  *out = std::move(program);
  return Status::Ok();
}

}  // namespace skein
