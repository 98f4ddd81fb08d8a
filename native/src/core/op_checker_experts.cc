#include <cmath>

#include "core/op_checker.h"

/// The checks of mixtures of experts and of multi-head latent attention.
namespace skein {

Status OpChecker::LatentWeight(const Op& op) const {
  const WeightSource* weight;
  if (Status s = Weight(op.weight, "weight", 2, &weight); !s.ok()) return s;
  const LatentShape& l = op.latent;
  if (op.num_heads == 0 || l.nope_dim == 0 || l.value_dim == 0 || l.latent_dim == 0 ||
      weight->shape[0] != uint64_t{op.num_heads} * (uint64_t{l.nope_dim} + l.value_dim) ||
      weight->shape[1] != l.latent_dim) {
    return Fail("weight '" + weight->name + "' is " + ShapeText(*weight) + ", " +
                std::to_string(op.num_heads) + " heads of " + std::to_string(l.nope_dim) + " + " +
                std::to_string(l.value_dim) + " rows and " + std::to_string(l.latent_dim) +
                " columns are needed");
  }
  return Status::Ok();
}

Status OpChecker::CheckAbsorbKey(const Op& op) {
  const Value* q;
  const LatentShape& l = op.latent;
  if (Status s = Input(op.inputs[0], "q", RowKind::kToken, &q); !s.ok()) return s;
  if (Status s = LatentWeight(op); !s.ok()) return s;
  if (Status s = Heads(*q, "q", op.num_heads, uint64_t{l.nope_dim} + l.rope_dim); !s.ok()) return s;
  return Output(op.out, size_t{op.num_heads} * (size_t{l.latent_dim} + l.rope_dim), RowKind::kToken);
}

Status OpChecker::CheckLatentAttention(const Op& op) {
  const Value *q, *latent, *key_rope;
  const LatentShape& l = op.latent;
  if (Status s = Input(op.inputs[0], "q", RowKind::kToken, &q); !s.ok()) return s;
  if (Status s = Input(op.inputs[1], "latent", RowKind::kToken, &latent); !s.ok()) return s;
  if (Status s = Input(op.inputs[2], "keyRope", RowKind::kToken, &key_rope); !s.ok()) return s;
  if (Status s = Heads(*q, "q", op.num_heads, uint64_t{l.latent_dim} + l.rope_dim); !s.ok()) return s;
  if (Status s = Heads(*latent, "latent", 1, l.latent_dim); !s.ok()) return s;
  if (Status s = Heads(*key_rope, "keyRope", 1, l.rope_dim); !s.ok()) return s;
  if (Status s = CheckCacheLayer(op, {1, l.latent_dim + l.rope_dim, 1, l.rope_dim}); !s.ok()) return s;
  if (!std::isfinite(op.scale)) return Fail("scale is not finite");
  return Output(op.out, size_t{op.num_heads} * l.latent_dim, RowKind::kToken);
}

Status OpChecker::CheckExpandValue(const Op& op) {
  const Value* x;
  if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
  if (Status s = LatentWeight(op); !s.ok()) return s;
  if (Status s = Heads(*x, "x", op.num_heads, op.latent.latent_dim); !s.ok()) return s;
  return Output(op.out, size_t{op.num_heads} * op.latent.value_dim, RowKind::kToken);
}

Status OpChecker::CheckRoute(const Op& op) {
  const Value* logits;
  const RouteSpec& r = op.route;
  if (Status s = Input(op.inputs[0], "logits", RowKind::kToken, &logits); !s.ok()) return s;
  const size_t experts = logits->width;
  if (op.bias >= 0) {
    const WeightSource* bias;
    if (Status s = Weight(op.bias, "correctionBias", 1, &bias); !s.ok()) return s;
    if (bias->shape[0] != experts)
      return Fail("logits is " + WidthText(*logits) + ", correctionBias '" + bias->name + "' is " +
                  ShapeText(*bias));
  }
  // Ids travel as floats, which hold them exactly below 2^24.
  if (experts >= size_t{1} << 24 || r.num_groups == 0 || experts % r.num_groups != 0 || r.top_k_groups == 0 ||
      r.top_k_groups > r.num_groups || r.top_k == 0 ||
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

Status OpChecker::CheckExperts(const Op& op) {
  const Value *x, *routes;
  if (Status s = Input(op.inputs[0], "x", RowKind::kToken, &x); !s.ok()) return s;
  if (Status s = Input(op.inputs[1], "routes", RowKind::kToken, &routes); !s.ok()) return s;
  if (routes->routed_experts == 0)
    return Fail("routes " + std::to_string(op.inputs[1]) + " is no route's output");
  if (op.group.empty()) {
    if (op.experts.empty()) return Fail("has no experts");
  } else if (Status s = CheckOwners(op, routes->routed_experts); !s.ok()) {
    return s;
  }
  uint64_t next_id = 0, inter = 0;
  for (const ExpertWeightIds& e : op.experts) {
    const WeightSource *gate, *up, *down;
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
      return Fail("expert " + std::to_string(e.id) + " has gate " + ShapeText(*gate) + ", up " +
                  ShapeText(*up) + " and down " + ShapeText(*down) + ", x is " + WidthText(*x) +
                  " and the first expert's inner size " + std::to_string(inter));
    }
  }
  return Output(op.out, x->width, RowKind::kToken);
}

}  // namespace skein
