#include "core/op_checker.h"

#include <cmath>

namespace skein {
namespace {

constexpr int64_t kMaxValues = 1'000'000;

}  // namespace

std::string ShapeText(const WeightSource& source) {
  std::string text = "[";
  for (size_t i = 0; i < source.shape.size(); ++i) text += (i ? ", " : "") + std::to_string(source.shape[i]);
  return text + "]";
}

std::string WidthText(const Value& value) {
  return std::string(value.rows == RowKind::kToken ? "[tokens, " : "[rows, ") + std::to_string(value.width) +
         "]";
}

Status OpChecker::Run() {
  for (index_ = 0; index_ < spec_.ops.size(); ++index_) {
    if (Status s = CheckOp(spec_.ops[index_]); !s.ok()) return s;
  }
  return Status::Ok();
}

Status OpChecker::Fail(const std::string& what) const {
  return {Code::kInvalidArgument,
          "op " + std::to_string(index_) + " (" + OpName(spec_.ops[index_].kind) + "): " + what};
}

Status OpChecker::Input(int64_t id, const char* name, RowKind rows, const Value** out) {
  if (id < 0 || id >= static_cast<int64_t>(program_->values.size()) ||
      !program_->values[static_cast<size_t>(id)].defined) {
    return Fail(std::string(name) + " " + std::to_string(id) + " was not written before");
  }
  Value& value = program_->values[static_cast<size_t>(id)];
  if (value.rows != rows)
    return Fail(std::string(name) + " is " + WidthText(value) + ", the other kind of rows is needed");
  value.last_op = index_;
  *out = &value;
  return Status::Ok();
}

Status OpChecker::Output(int64_t id, size_t width, RowKind rows, bool packed) {
  if (id < 0 || id >= kMaxValues) return Fail("out " + std::to_string(id) + " is out of range");
  if (width == 0 || width > kMaxDim) return Fail("width " + std::to_string(width) + " is out of range");
  if (program_->values.size() <= static_cast<size_t>(id))
    program_->values.resize(static_cast<size_t>(id) + 1);
  Value& value = program_->values[static_cast<size_t>(id)];
  if (value.defined) return Fail("out " + std::to_string(id) + " is written twice");
  value = {
      .defined = true, .width = width, .rows = rows, .first_op = index_, .last_op = index_, .packed = packed};
  return Status::Ok();
}

Status OpChecker::Weight(int64_t id, const char* name, size_t dims, const WeightSource** out) const {
  if (id < 0 || id >= static_cast<int64_t>(spec_.weights.size())) {
    return Fail(std::string(name) + " " + std::to_string(id) + " is none of the " +
                std::to_string(spec_.weights.size()) + " weights");
  }
  *out = &spec_.weights[static_cast<size_t>(id)];
  if ((*out)->shape.size() != dims) {
    return Fail(std::string(name) + " '" + (*out)->name + "' is " + ShapeText(**out) + ", " +
                std::to_string(dims) + " dimensions are needed");
  }
  return Status::Ok();
}

Status OpChecker::Heads(const Value& x, const char* name, uint64_t heads, uint64_t head_dim) const {
  if (heads == 0 || head_dim == 0 || heads * head_dim != x.width) {
    return Fail(std::string(name) + " is " + WidthText(x) + ", " + std::to_string(heads) + " heads of " +
                std::to_string(head_dim) + " need " + std::to_string(heads * head_dim));
  }
  return Status::Ok();
}

Status OpChecker::SoftCap(const Op& op) const {
  const bool ok = op.soft_cap >= 0 && std::isfinite(op.soft_cap);
  return ok ? Status::Ok() : Fail("softCap is not a number > 0");
}

Status OpChecker::Peer(const Op& op) const { return op.peer.empty() ? Fail("peer is empty") : Status::Ok(); }

Status OpChecker::CheckOp(const Op& op) {
  switch (op.kind) {
    case OpKind::kEmbed:
      return CheckEmbed(op);
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
      if (a->width != b->width) return Fail("its inputs are " + WidthText(*a) + " and " + WidthText(*b));
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
        return Fail("logits is " + WidthText(*logits) + ", vocabSize is " + std::to_string(spec_.vocab_size));
      }
      if (program_->samples) return Fail("a program samples once");
      program_->samples = true;
      return Status::Ok();
    }
    case OpKind::kAllGather:
      return CheckAllGather(op);
    case OpKind::kAllReduce:
      return CheckAllReduce(op);
    case OpKind::kSend: {
      const Value* x;
      if (Status s = Peer(op); !s.ok()) return s;
      if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
      if (op.width == 0 || op.first_col > x->width || op.width > x->width - op.first_col) {
        return Fail("sends " + std::to_string(op.width) + " columns from " + std::to_string(op.first_col) +
                    " on of " + std::to_string(x->width));
      }
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

RowKind OpChecker::RowKindOf(int64_t id) const {
  const bool known = id >= 0 && id < static_cast<int64_t>(program_->values.size());
  return known ? program_->values[static_cast<size_t>(id)].rows : RowKind::kToken;
}

Status OpChecker::CheckEmbed(const Op& op) {
  const WeightSource* weight;
  if (Status s = Weight(op.weight, "weight", 2, &weight); !s.ok()) return s;
  // Rows of zeros are for others to fill.
  const bool whole = op.first_id == 0 && weight->shape[0] >= spec_.vocab_size;
  if (op.first_id > kMaxDim || (!whole && spec_.groups.empty())) {
    return Fail("weight '" + weight->name + "' is " + ShapeText(*weight) + " of ids from " +
                std::to_string(op.first_id) + " on, vocabSize is " + std::to_string(spec_.vocab_size) +
                ", and no group has the others");
  }
  if (!std::isfinite(op.scale)) return Fail("scale is not finite");
  return Output(op.out, weight->shape[1], RowKind::kToken);
}

Status OpChecker::CheckRmsNorm(const Op& op) {
  const Value* x;
  const WeightSource* weight;
  const auto kind = RowKindOf(op.inputs[0]);
  if (Status s = Input(op.inputs[0], "x", kind, &x); !s.ok()) return s;
  if (Status s = Weight(op.weight, "weight", 1, &weight); !s.ok()) return s;
  if (!(op.eps >= 0) || !std::isfinite(op.eps)) return Fail("eps is not a number >= 0");
  if (!std::isfinite(op.weight_offset)) return Fail("weightOffset is not finite");
  // A shorter weight normalises each head on its own, as Qwen3 does with q and k.
  if (x->width % weight->shape[0] != 0) {
    return Fail("x is " + WidthText(*x) + ", weight '" + weight->name + "' is " + ShapeText(*weight));
  }
  return Output(op.out, x->width, kind);
}

Status OpChecker::CheckLinear(const Op& op) {
  const bool logits = op.kind == OpKind::kLogits;
  const Value* x;
  const WeightSource* weight;
  const auto kind = logits ? RowKind::kLogitRow : RowKindOf(op.inputs[0]);
  if (Status s = Input(op.inputs[0], "x", kind, &x); !s.ok()) return s;
  if (Status s = Weight(op.weight, "weight", 2, &weight); !s.ok()) return s;
  if (weight->shape[1] != x->width) {
    return Fail("x is " + WidthText(*x) + ", weight '" + weight->name + "' is " + ShapeText(*weight));
  }
  if (op.bias >= 0) {
    const WeightSource* bias;
    if (Status s = Weight(op.bias, "bias", 1, &bias); !s.ok()) return s;
    if (bias->shape[0] != weight->shape[0]) {
      return Fail("weight '" + weight->name + "' is " + ShapeText(*weight) + ", bias '" + bias->name +
                  "' is " + ShapeText(*bias));
    }
  }
  if (Status s = SoftCap(op); !s.ok()) return s;
  if (logits) {
    if (program_->logits >= 0) return Fail("a program has one logits op");
    program_->logits = op.out;
  }
  return Output(op.out, weight->shape[0], kind);
}

Status OpChecker::CheckCacheLayer(const Op& op, const KVCacheLayerSpec& need) const {
  if (op.cache_layer >= spec_.kv_cache.layers.size()) {
    return Fail("cacheLayer " + std::to_string(op.cache_layer) + " is none of the " +
                std::to_string(spec_.kv_cache.layers.size()) + " layers");
  }
  const KVCacheLayerSpec& layer = spec_.kv_cache.layers[op.cache_layer];
  if (layer != need) {
    const auto text = [](const KVCacheLayerSpec& l) {
      return std::to_string(l.num_parts) + " x " + std::to_string(l.num_kv_heads) + " heads of " +
             std::to_string(l.head_dim) +
             (l.rope_dim > 0 ? ", " + std::to_string(l.rope_dim) + " of them rotated" : "");
    };
    return Fail("needs a cache of " + text(need) + ", layer " + std::to_string(op.cache_layer) + " has " +
                text(layer));
  }
  return Status::Ok();
}

Status OpChecker::CheckAttention(const Op& op) {
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

}  // namespace skein
