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

bool IsSampled(std::span<const Op> ops, size_t i) {
  return i + 1 < ops.size() && ops[i].kind == OpKind::kLogits && ops[i + 1].kind == OpKind::kSample &&
         ops[i + 1].inputs[0] == ops[i].out;
}

}  // namespace

std::vector<OpGroup> GroupOps(std::span<const Op> ops, std::span<const Value> values) {
  std::vector<OpGroup> groups;
  const auto starts_pair = [&](size_t i) { return IsGated(ops, values, i) || IsSampled(ops, i); };
  for (size_t i = 0; i < ops.size();) {
    OpGroup group{Fusion::kNone, i, i + 1};
    if (IsGated(ops, values, i)) {
      group = {Fusion::kGated, i, i + 3};
    } else if (IsSampled(ops, i)) {
      group = {Fusion::kSample, i, i + 2};
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
