#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/weight_source.h"

/// The caller's description of a program: the C++ side of `native/lib/native.ts`, same names. Unchecked until
/// `Program::Create`.
namespace skein {

enum class OpKind {
  kEmbed,
  kRmsNorm,
  kLinear,
  kRope,
  kAttention,
  kAbsorbKey,
  kLatentAttention,
  kExpandValue,
  kSiluMul,
  kGeluTanhMul,
  kAdd,
  kRoute,
  kExperts,
  kGatherRows,
  kLogits,
  kSample,
  kAllGather,
  kAllReduce,
  kSend,
  kRecv,
  kSendTokens,
  kRecvTokens,
};

/// The op's name in native.ts, for messages.
const char* OpName(OpKind kind);

/// How a router's logits become scores.
enum class RouteScore { kSoftmax, kSigmoid };
/// What ranks a group of experts: its best choice, or the sum of its two best.
enum class GroupScore { kBest, kBestTwo };

struct RouteSpec {
  RouteScore score = RouteScore::kSoftmax;
  GroupScore group_score = GroupScore::kBest;
  uint32_t top_k = 0;
  uint32_t num_groups = 1;
  uint32_t top_k_groups = 1;
  bool renormalize = false;
  float scale = 1;
};

struct ExpertWeightIds {
  uint32_t id = 0;
  int64_t gate = -1, up = -1, down = -1;
};

/// How the values of several ranks become one: added up, or taken where one has bits that are not zero.
enum class Reduction { kSum, kPick };

/// Ranks that make values together. Rank r of it is the peer PeerOf(name, r).
struct RankGroup {
  std::string name;
  uint32_t size = 1;
  uint32_t rank = 0;
};

inline std::string PeerOf(const std::string& group, uint32_t rank) {
  return group + "/" + std::to_string(rank);
}

/// Sizes of a head of multi-head latent attention.
struct LatentShape {
  uint32_t nope_dim = 0;
  uint32_t rope_dim = 0;
  uint32_t value_dim = 0;
  uint32_t latent_dim = 0;
};

/// Ids of values and weights are -1 where the kind has none.
struct Op {
  OpKind kind = OpKind::kAdd;
  /// x; gate, up; a, b; q, k, v; q, latent, key_rope; logits; x, routes: in that order, the rest -1.
  int64_t inputs[3] = {-1, -1, -1};
  int64_t out = -1;
  int64_t weight = -1;
  int64_t bias = -1;
  float eps = 0;
  float weight_offset = 0;
  uint32_t num_heads = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t rotary_start = 0;
  uint32_t rotary_dim = 0;
  bool interleaved = false;
  std::vector<float> inverse_frequencies;
  float attention_factor = 1;
  uint32_t cache_layer = 0;
  /// Of scores, or of embedded rows.
  float scale = 1;
  /// The id of an embedding's first row.
  uint32_t first_id = 0;
  /// Of the columns that are sent, `width` of them.
  uint32_t first_col = 0;
  /// Positions that a token attends to, its own included; 0 for all.
  uint32_t window = 0;
  /// 0 for none.
  float soft_cap = 0;
  uint32_t width = 0;
  RouteSpec route;
  std::vector<ExpertWeightIds> experts;
  /// Under which the experts' tokens are counted; -1 counts none.
  int64_t layer = -1;
  LatentShape latent;
  std::string peer;
  /// Name of the group of an op among ranks.
  std::string group;
  /// Of what allGather puts together, by rank.
  std::vector<uint32_t> widths;
  /// Of experts that the ranks of `group` share: the ranks that have each, ascending, by id.
  std::vector<std::vector<uint32_t>> owners;
  /// And whose tokens each rank has, by rank: runs of ranks, as many for each source.
  std::vector<uint32_t> sources;
  uint32_t num_sources() const { return sources.empty() ? 1 : sources.back() + 1; }
  Reduction reduction = Reduction::kSum;
};

struct ProgramLimits {
  uint32_t max_tokens = 0;
  uint32_t max_seqs = 0;
  uint32_t max_rows = 0;
  uint32_t max_model_len = 0;
  uint32_t max_logprobs = 0;
  uint32_t num_slots = 0;
};

/// A layer of K and V per head, or, with one part, of rows from which both are read (multi-head latent
/// attention).
struct KVCacheLayerSpec {
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t num_parts = 2;
  /// Last elements of a row that are quantized by themselves: the rotated part of a latent row. 0 for none.
  uint32_t rope_dim = 0;
  bool operator==(const KVCacheLayerSpec&) const = default;
};

/// Storage type of the KV cache. Those of one byte have a scale for each token's row of a head.
enum class KVCacheDtype { kF32, kF16, kBF16, kF8E4M3, kI8 };

constexpr bool HasScales(KVCacheDtype dtype) {
  return dtype == KVCacheDtype::kF8E4M3 || dtype == KVCacheDtype::kI8;
}
constexpr size_t DtypeBytes(KVCacheDtype dtype) {
  return dtype == KVCacheDtype::kF32 ? 4 : HasScales(dtype) ? 1 : 2;
}

struct KVCacheSpec {
  uint32_t num_blocks = 0;
  uint32_t block_size = 0;
  KVCacheDtype dtype = KVCacheDtype::kF32;
  std::vector<KVCacheLayerSpec> layers;
};

struct ProgramSpec {
  uint32_t vocab_size = 0;
  std::vector<RankGroup> groups;
  std::vector<WeightSource> weights;
  std::vector<Op> ops;
  ProgramLimits limits;
  KVCacheSpec kv_cache;
  /// Folder of the weight cache; empty for none.
  std::string weight_cache_dir;
};

}  // namespace skein
