#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/communicator.h"
#include "core/expert_counts.h"
#include "core/kv_cache.h"
#include "core/matrix.h"
#include "core/program.h"
#include "core/step_io.h"
#include "core/thread_pool.h"
#include "core/weights.h"
#include "skein/status.h"

namespace skein {

/// One of several linears that share an input. `bias` may be null.
struct LinearPart {
  WeightView weight;
  const float* bias = nullptr;
  Matrix out;
  /// Row and column of the product that stand first in `out`.
  size_t first_row = 0, first_col = 0;

  float* Out(size_t row, size_t col) const {
    return out.data + (row - first_row) * out.stride + (col - first_col);
  }
};

/// Gate and up projections and how their results become one. `gate.out` and `up.out` are room that may be
/// used.
struct GatedParts {
  LinearPart gate, up;
  /// kSiluMul or kGeluTanhMul.
  OpKind product;
  /// The weight of the one linear that reads the result, or null: then it may be kept in that linear's codes
  /// alone.
  const WeightView* reader = nullptr;
};

/// What makes the logits that are sampled.
struct SampledHead {
  LinearPart part;
  /// 0 for none.
  float soft_cap = 0;
  /// Whether the logits of all rows are to be written.
  bool keep_logits = false;
  /// Where ranks have a part of the vocabulary each, widths[r] ids of rank r: they, and room for the logits
  /// of all, of which part.out is this rank's columns. Null for one rank.
  Communicator* ranks = nullptr;
  std::span<const uint32_t> widths;
  Matrix logits;
};

/// One expert of a mixture: gate and up [inter, hidden], down [hidden, inter].
struct ExpertWeights {
  uint32_t id = 0;
  WeightView gate, up, down;
};

/// The experts of one layer.
struct ExpertMixture {
  /// This rank's: ids ascending, all of one shape.
  std::span<const ExpertWeights> experts;
  /// Where ranks share them all: they, and the ranks that have each expert, by id. Null: what is not in
  /// `experts` adds nothing.
  Communicator* ranks = nullptr;
  std::span<const std::vector<uint32_t>> owners;
  /// Where the ranks have tokens of several sources: whose tokens each rank has, and how many each source
  /// has. Empty where all ranks have the same.
  std::span<const uint32_t> sources;
  std::span<const int32_t> source_tokens;
  /// Where what this rank computes is added, by index into `experts`; may be null.
  ExpertCounts* counts = nullptr;
};

/// The operations of native.ts for one program. Created with everything it will need: no call allocates, and
/// what one writes the next may read; whoever else reads or writes a matrix calls Flush before. Inputs were
/// checked by Program::Create and ParseStepInput. One thread calls. Results of a row depend on that row (and
/// its sequence) alone, bit for bit, whatever else the step holds.
class Backend {
 public:
  virtual ~Backend() = default;

  /// `input` lives until the next BeginStep.
  virtual void BeginStep(const StepInput& input) = 0;
  /// Ends all that is under way. Operations of Fusion::kRows may wait, together, for this or for one that is
  /// not.
  virtual void Flush() = 0;
  /// weight: kFloatPanels, as of all weights of linears and experts. ids: one per row of `out`, all in [0,
  /// weight.rows), or -1 for a row of zeros.
  virtual void Embed(const Op& op, const WeightView& weight, const int32_t* ids, Matrix out) = 0;
  /// Each run of `norm_width` columns is normalised by itself; weight [norm_width].
  virtual void RmsNorm(const Op& op, const float* weight, size_t norm_width, Matrix x, Matrix out) = 0;
  virtual void Linear(Matrix x, std::span<const LinearPart> parts) = 0;
  virtual void GatedLinear(Matrix x, const GatedParts& parts, Matrix out) = 0;
  virtual void Rope(const Op& op, Matrix x, Matrix out) = 0;
  virtual void Attention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix k, Matrix v,
                         Matrix out) = 0;
  /// weight: kv_b_proj, [num_heads * (nope_dim + value_dim), latent_dim], kRows.
  virtual void AbsorbKey(const Op& op, const WeightView& weight, Matrix q, Matrix out) = 0;
  virtual void LatentAttention(const Op& op, const KVCacheLayer& layer, Matrix q, Matrix latent,
                               Matrix key_rope, Matrix out) = 0;
  /// weight: kv_b_proj's value rows, [num_heads * value_dim, latent_dim], kFloatPanels of each head by
  /// itself.
  virtual void ExpandValue(const Op& op, const WeightView& weight, Matrix x, Matrix out) = 0;
  virtual void SiluMul(Matrix gate, Matrix up, Matrix out) = 0;
  virtual void GeluTanhMul(Matrix gate, Matrix up, Matrix out) = 0;
  /// x = cap * tanh(x / cap).
  virtual void SoftCap(float cap, Matrix x) = 0;
  virtual void Add(Matrix a, Matrix b, Matrix out) = 0;
  /// bias [experts] or null. out [tokens, 2 * top_k]: expert ids ascending, as floats, then their weights.
  virtual void Route(const Op& op, Matrix logits, const float* bias, Matrix out) = 0;
  /// A token's experts are added in ascending order, wherever they were computed. Only ranks fail.
  virtual Status Experts(const ExpertMixture& mixture, Matrix x, Matrix routes, Matrix out) = 0;
  virtual void GatherRows(Matrix x, const int32_t* row_token, Matrix out) = 0;
  /// kInternal names a row whose logits are not finite.
  virtual Status Sample(Matrix logits, StepOutput* output) = 0;
  /// The same from the logits of `head`, which are written for rows that need them whole. The ids are those
  /// of Sample, and, where ranks share the head, the same on all of them.
  virtual Status SampleLogits(Matrix x, const SampledHead& head, StepOutput* output) = 0;
};

/// A device: makes backends. Shared by programs.
class Device {
 public:
  virtual ~Device() = default;
  virtual const char* instruction_level() const = 0;
  /// The host's threads that its steps run on; loading uses them too.
  virtual ThreadPool& pool() = 0;
  size_t threads() { return pool().threads(); }
  /// The backend polls `cancelled` inside long operations, whose results are then undefined.
  virtual Status CreateBackend(const Program& program, const std::atomic<bool>& cancelled,
                               std::unique_ptr<Backend>* out) = 0;
};

}  // namespace skein
