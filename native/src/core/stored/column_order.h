#pragma once

#include <cstdint>
#include <vector>

#include "core/stored/row_format.h"
#include "core/stored/stored_tensor.h"

namespace skein::stored {

/// Reads a g_idx, the group of each column, and gives the columns ordered by group; empty where they are in
/// that order already, or where the tensor was never filled (all -1). kFile when a group is out of range or
/// does not have `format.group` columns.
Status ReadColumnOrder(const StoredTensor& g_idx, const RowFormat& format, std::vector<uint32_t>* order);

/// Puts each row's codes into that order; nothing for an empty one.
void ReorderColumns(const std::vector<uint32_t>& order, size_t count, RowBlock* block);

}  // namespace skein::stored
