#include "core/op_groups.h"

#include <algorithm>

#include "core/program.h"

namespace skein {
namespace {

bool IsRowWise(OpKind kind) {
  switch (kind) {
    case OpKind::kEmbed:
    case OpKind::kRmsNorm:
    case OpKind::kRope:
    case OpKind::kSiluMul:
    case OpKind::kGeluTanhMul:
    case OpKind::kAdd:
      return true;
    default:
      return false;
  }
}

bool IsLinear(const Op& op) { return op.kind == OpKind::kLinear || op.kind == OpKind::kLogits; }

bool IsGated(std::span<const Op> ops, std::span<const Value> values, size_t i) {
  if (i + 2 >= ops.size()) return false;
  const Op &gate = ops[i], &up = ops[i + 1], &product = ops[i + 2];
  const auto read_by_product = [&](const Op& op) {
    return values[static_cast<size_t>(op.out)].last_op == i + 2;
  };
  return gate.kind == OpKind::kLinear && up.kind == OpKind::kLinear && gate.inputs[0] == up.inputs[0] &&
         (product.kind == OpKind::kSiluMul || product.kind == OpKind::kGeluTanhMul) &&
         product.inputs[0] == gate.out && product.inputs[1] == up.out && read_by_product(gate) &&
         read_by_product(up);
}

/// Index past the sample op that alone reads the logits of op `i`, or the allGather between them; 0 for none.
size_t SampledEnd(std::span<const Op> ops, std::span<const Value> values, size_t i) {
  if (ops[i].kind != OpKind::kLogits) return 0;
  const auto reads = [&](size_t reader, OpKind kind) {
    const int64_t out = ops[reader - 1].out;
    return reader < ops.size() && ops[reader].kind == kind && ops[reader].inputs[0] == out &&
           values[static_cast<size_t>(out)].last_op == reader;
  };
  if (reads(i + 1, OpKind::kSample)) return i + 2;
  return reads(i + 1, OpKind::kAllGather) && reads(i + 2, OpKind::kSample) ? i + 3 : 0;
}

}  // namespace

std::vector<OpGroup> GroupOps(std::span<const Op> ops, std::span<const Value> values) {
  std::vector<OpGroup> groups;
  const auto starts_pair = [&](size_t i) {
    return IsGated(ops, values, i) || SampledEnd(ops, values, i) > 0;
  };
  for (size_t i = 0; i < ops.size();) {
    OpGroup group{Fusion::kNone, i, i + 1};
    if (IsGated(ops, values, i)) {
      group = {Fusion::kGated, i, i + 3};
    } else if (const size_t end = SampledEnd(ops, values, i); end > 0) {
      group = {Fusion::kSample, i, end};
    } else if (IsLinear(ops[i])) {
      group.fusion = Fusion::kLinears;
      while (group.end < ops.size() && IsLinear(ops[group.end]) &&
             ops[group.end].inputs[0] == ops[i].inputs[0] && !starts_pair(group.end)) {
        ++group.end;
      }
    } else if (IsRowWise(ops[i].kind)) {
      group.fusion = Fusion::kRows;
      while (group.end < ops.size() && IsRowWise(ops[group.end].kind)) ++group.end;
    }
    groups.push_back(group);
    i = group.end;
  }
  return groups;
}

void ExtendToGroups(std::span<const OpGroup> groups, std::span<Value> values) {
  for (Value& value : values) {
    if (!value.defined) continue;
    const auto group = std::upper_bound(groups.begin(), groups.end(), value.last_op,
                                        [](size_t op, const OpGroup& g) { return op < g.end; });
    value.last_op = group->end - 1;
  }
}

}  // namespace skein
