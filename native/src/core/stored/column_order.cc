#include "core/stored/column_order.h"

#include <algorithm>
#include <numeric>

namespace skein::stored {

Status ReadColumnOrder(const StoredTensor& g_idx, const RowFormat& format, std::vector<uint32_t>* order) {
  order->clear();
  std::vector<int32_t> group_of(format.cols);
  if (Status s = g_idx.Read(0, group_of.size() * sizeof(int32_t), group_of.data()); !s.ok()) return s;
  if (std::all_of(group_of.begin(), group_of.end(), [](int32_t g) { return g == -1; })) return Status::Ok();
  std::vector<size_t> counts(format.groups());
  for (size_t c = 0; c < group_of.size(); ++c) {
    if (group_of[c] < 0 || static_cast<size_t>(group_of[c]) >= counts.size()) {
      return ContentError(g_idx.source(), "column " + std::to_string(c) + " has group " +
                                              std::to_string(group_of[c]) + " of " +
                                              std::to_string(counts.size()));
    }
    ++counts[static_cast<size_t>(group_of[c])];
  }
  for (size_t g = 0; g < counts.size(); ++g) {
    if (counts[g] != format.group) {
      return ContentError(g_idx.source(), "group " + std::to_string(g) + " has " + std::to_string(counts[g]) +
                                              " columns, all have " + std::to_string(format.group));
    }
  }
  if (std::is_sorted(group_of.begin(), group_of.end())) return Status::Ok();
  order->resize(format.cols);
  std::iota(order->begin(), order->end(), 0);
  std::stable_sort(order->begin(), order->end(),
                   [&](uint32_t a, uint32_t b) { return group_of[a] < group_of[b]; });
  return Status::Ok();
}

void ReorderColumns(const std::vector<uint32_t>& order, size_t count, RowBlock* block) {
  if (order.empty()) return;
  block->stored.resize(order.size());
  for (size_t r = 0; r < count; ++r) {
    uint8_t* row = block->elements.data() + r * order.size();
    std::copy(row, row + order.size(), block->stored.begin());
    for (size_t c = 0; c < order.size(); ++c) row[c] = block->stored[order[c]];
  }
}

}  // namespace skein::stored
