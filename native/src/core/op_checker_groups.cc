#include <algorithm>
#include <functional>
#include <numeric>

#include "core/op_checker.h"

/// The checks of operations among ranks.
namespace skein {

Status OpChecker::Group(const Op& op, const RankGroup** out) const {
  const auto it = std::find_if(spec_.groups.begin(), spec_.groups.end(),
                               [&](const RankGroup& g) { return g.name == op.group; });
  if (it == spec_.groups.end()) {
    return Fail("group '" + op.group + "' is none of the program's " + std::to_string(spec_.groups.size()));
  }
  *out = &*it;
  return Status::Ok();
}

Status OpChecker::CheckOwners(const Op& op, size_t num_experts) const {
  const RankGroup* group;
  if (Status s = Group(op, &group); !s.ok()) return s;
  if (op.owners.size() != num_experts) {
    return Fail("owners has " + std::to_string(op.owners.size()) + " entries for " +
                std::to_string(num_experts) + " experts");
  }
  const size_t per_source = group->size / op.num_sources();
  for (size_t r = 0; r < group->size; ++r) {
    if (op.sources.size() != group->size || group->size % op.num_sources() != 0 ||
        op.sources[r] != r / per_source) {
      return Fail("sources are not equal runs of the " + std::to_string(group->size) + " ranks of group '" +
                  op.group + "'");
    }
  }
  size_t next = 0;
  for (size_t id = 0; id < num_experts; ++id) {
    const std::vector<uint32_t>& ranks = op.owners[id];
    if (ranks.empty() ||
        std::adjacent_find(ranks.begin(), ranks.end(), std::greater_equal<>()) != ranks.end())
      return Fail("owners[" + std::to_string(id) + "] is not one rank or more, ascending");
    if (ranks.back() >= group->size) {
      return Fail("owners[" + std::to_string(id) + "] has " + std::to_string(ranks.back()) + ", group '" +
                  op.group + "' has " + std::to_string(group->size) + " ranks");
    }
    if (!std::binary_search(ranks.begin(), ranks.end(), group->rank)) continue;
    if (next == op.experts.size() || op.experts[next].id != id)
      return Fail("expert " + std::to_string(id) + " is this rank's, and is not listed in its place");
    ++next;
  }
  if (next < op.experts.size())
    return Fail("expert " + std::to_string(op.experts[next].id) + " is listed, and not this rank's");
  return Status::Ok();
}

Status OpChecker::CheckAllGather(const Op& op) {
  const Value* x;
  const RankGroup* group;
  const auto kind = RowKindOf(op.inputs[0]);
  if (Status s = Group(op, &group); !s.ok()) return s;
  if (Status s = Input(op.inputs[0], "x", kind, &x); !s.ok()) return s;
  if (op.widths.size() != group->size) {
    return Fail("widths has " + std::to_string(op.widths.size()) + " entries, group '" + op.group + "' has " +
                std::to_string(group->size) + " ranks");
  }
  if (op.widths[group->rank] != x->width) {
    return Fail("x is " + WidthText(*x) + ", widths[" + std::to_string(group->rank) + "] is " +
                std::to_string(op.widths[group->rank]));
  }
  if (const auto none = std::find(op.widths.begin(), op.widths.end(), 0); none != op.widths.end())
    return Fail("widths[" + std::to_string(none - op.widths.begin()) + "] is 0");
  if (op.inputs[0] == program_->logits) program_->logits = op.out;
  return Output(op.out, std::accumulate(op.widths.begin(), op.widths.end(), size_t{0}), kind);
}

Status OpChecker::CheckAllReduce(const Op& op) {
  const Value* x;
  const RankGroup* group;
  const auto kind = RowKindOf(op.inputs[0]);
  if (Status s = Group(op, &group); !s.ok()) return s;
  if (Status s = Input(op.inputs[0], "x", kind, &x); !s.ok()) return s;
  if (op.bias >= 0) {
    const WeightSource* bias;
    if (Status s = Weight(op.bias, "bias", 1, &bias); !s.ok()) return s;
    if (bias->shape[0] != x->width)
      return Fail("x is " + WidthText(*x) + ", bias '" + bias->name + "' is " + ShapeText(*bias));
  }
  return Output(op.out, x->width, kind);
}

}  // namespace skein
