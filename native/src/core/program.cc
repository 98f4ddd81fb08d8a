#include "core/program.h"

#include <set>
#include <utility>

#include "core/buffer_plan.h"
#include "core/checked_math.h"
#include "core/kv_cache.h"
#include "core/op_checker.h"
#include "core/weight_plan.h"

namespace skein {
namespace {

constexpr size_t kMaxOps = 100'000;
/// Every rank of a group has a channel to every other.
constexpr uint32_t kMaxGroupSize = 256;

Status CheckGroups(const ProgramSpec& spec) {
  std::set<std::string> names;
  for (const RankGroup& group : spec.groups) {
    const std::string where = "group '" + group.name + "' ";
    if (group.name.empty() || !names.insert(group.name).second)
      return {Code::kInvalidArgument, where + "needs a name of its own"};
    if (group.size == 0 || group.size > kMaxGroupSize || group.rank >= group.size) {
      return {Code::kInvalidArgument, where + "has rank " + std::to_string(group.rank) + " of " +
                                          std::to_string(group.size) + ", needs one of 1 to " +
                                          std::to_string(kMaxGroupSize)};
    }
  }
  return Status::Ok();
}

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
      "embed",       "rmsNorm", "linear",      "rope",      "attention", "absorbKey", "latentAttention",
      "expandValue", "siluMul", "geluTanhMul", "add",       "route",     "experts",   "gatherRows",
      "logits",      "sample",  "allGather",   "allReduce", "send",      "recv",      "sendTokens",
      "recvTokens"};
  return kNames[static_cast<size_t>(kind)];
}

Status Program::Create(ProgramSpec spec, Program* out) {
  Program program;
  if (Status s = CheckLimits(spec); !s.ok()) return s;
  if (Status s = CheckGroups(spec); !s.ok()) return s;
  for (const WeightSource& source : spec.weights) {
    if (Status s = CheckWeightSource(source); !s.ok()) return s;
  }
  if (Status s = KVCacheBytes(spec.kv_cache, &program.kv_cache_bytes); !s.ok()) return s;
  if (Status s = OpChecker(spec, &program).Run(); !s.ok()) return s;
  WeightPlan weights;
  if (Status s = PlanWeights(spec, {}, &weights); !s.ok()) return s;
  program.weight_bytes = weights.bytes;
  program.groups = GroupOps(spec.ops, program.values);
  ExtendToGroups(program.groups, program.values);
  program.arena_bytes = PlanBuffers(spec.limits, program.logits, &program.values);
  if (program.arena_bytes == 0) return {Code::kInvalidArgument, "the buffers do not fit in memory"};
  program.spec = std::move(spec);
  *out = std::move(program);
  return Status::Ok();
}

}  // namespace skein
