#pragma once

#include <string>

#include "core/program.h"

namespace skein {

/// Bound that keeps every later product of two such sizes inside size_t and every id inside int32.
constexpr uint64_t kMaxDim = uint64_t{1} << 28;

/// Shapes in messages.
std::string ShapeText(const WeightSource& source);
std::string WidthText(const Value& value);

/// Walks the ops of a program in order, defining values as it goes. An error names the op's index and the
/// shapes that do not fit.
class OpChecker {
 public:
  OpChecker(const ProgramSpec& spec, Program* program) : spec_(spec), program_(program) {}
  Status Run();

 private:
  Status Fail(const std::string& what) const;
  Status Input(int64_t id, const char* name, RowKind rows, const Value** out);
  Status Output(int64_t id, size_t width, RowKind rows, bool packed = false);
  Status Weight(int64_t id, const char* name, size_t dims, const WeightSource** out) const;
  Status Heads(const Value& x, const char* name, uint64_t heads, uint64_t head_dim) const;
  Status SoftCap(const Op& op) const;
  Status Peer(const Op& op) const;
  Status Group(const Op& op, const RankGroup** out) const;
  Status CheckOp(const Op& op);
  RowKind RowKindOf(int64_t id) const;
  Status CheckEmbed(const Op& op);
  Status CheckRmsNorm(const Op& op);
  Status CheckLinear(const Op& op);
  Status CheckCacheLayer(const Op& op, const KVCacheLayerSpec& need) const;
  Status CheckAttention(const Op& op);
  /// kv_b_proj: for each head nope_dim rows that make its keys, then value_dim rows that make its values.
  Status LatentWeight(const Op& op) const;
  Status CheckAbsorbKey(const Op& op);
  Status CheckLatentAttention(const Op& op);
  Status CheckExpandValue(const Op& op);
  Status CheckRoute(const Op& op);
  Status CheckExperts(const Op& op);
  Status CheckOwners(const Op& op, size_t num_experts) const;
  Status CheckAllGather(const Op& op);
  Status CheckAllReduce(const Op& op);

  const ProgramSpec& spec_;
  Program* program_;
  size_t index_ = 0;
};

}  // namespace skein
