#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "ranks.h"
#include "tiny_model.h"

/// The tiny model cut for the ranks of a group: heads, inner columns, vocabulary and output columns each by
/// rank, gathered wherever a product needs them whole.
namespace skein::test {

/// What each rank has, by rank.
struct Split {
  std::vector<uint32_t> kv_heads, inter, hidden, vocab;
  /// The ranks that have each expert of a mixture.
  std::vector<std::vector<uint32_t>> owners = {};
  /// Whether the output projections take each rank's columns, and their products are added up, in place of
  /// rows of inputs that are gathered.
  bool sums = false;
  size_t size() const { return kv_heads.size(); }
};

/// The program of a rank. `whole` is that of a TinyModel of `shape`.
ProgramSpec Shard(const ProgramSpec& whole, const TinyShape& shape, const Split& split, uint32_t rank);

/// Runners of the ranks of group "tp".
class GroupRunners {
 public:
  GroupRunners(const std::vector<ProgramSpec>& specs, const Link& link, size_t threads = 1);
  size_t size() const { return runners_.size(); }
  Runner& at(size_t rank) { return *runners_[rank]; }

  /// One step on all ranks.
  std::vector<Status> Run(const std::vector<int32_t>& words, std::vector<std::vector<int32_t>>* outputs,
                          std::chrono::milliseconds deadline = std::chrono::seconds(60));

 private:
  std::vector<std::unique_ptr<Runner>> runners_;
};

void SetStep(std::vector<int32_t>* words, int32_t step);

/// Every rank answers what `whole` does, logits included where they are kept.
void CheckStep(Runner& whole, GroupRunners& ranks, const std::vector<int32_t>& words, bool keep_logits);

/// Prompts of several lengths, then tokens fed back, with rows of every kind.
void CheckGeneration(Runner& whole, GroupRunners& ranks, uint32_t vocab);

}  // namespace skein::test
