#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace skein {

/// How many rows each expert of an op was given. One thread adds, any thread reads.
class ExpertCounts {
 public:
  explicit ExpertCounts(size_t experts) : counts_(experts) {}

  void Add(size_t expert, uint64_t rows) {
    // With one writer no addition is lost, and an atomic one would cost a locked instruction.
    std::atomic<uint64_t>& count = counts_[expert];
    count.store(count.load(std::memory_order_relaxed) + rows, std::memory_order_relaxed);
  }
  size_t size() const { return counts_.size(); }
  uint64_t operator[](size_t expert) const { return counts_[expert].load(std::memory_order_relaxed); }

 private:
  std::vector<std::atomic<uint64_t>> counts_;
};

/// What an `experts` op of a rank has computed since its program was created.
struct ExpertLoad {
  uint32_t layer = 0;
  /// The rank's experts, ascending, and pairs of a token and each.
  std::vector<uint32_t> ids;
  std::vector<uint64_t> tokens;
};

}  // namespace skein
