#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/program_spec.h"

namespace skein {

struct Value;

/// How neighbouring ops run as one.
enum class Fusion {
  kNone,
  kRows,     ///< each row of a value depends on the same row of others: all of them pass row by row
  kLinears,  ///< linears of one input
  kGated,    ///< gate, up and their product, which alone reads them
  kSample,   ///< logits, what puts the parts of several ranks together, and what samples them
};

/// Ops [begin, end).
struct OpGroup {
  Fusion fusion;
  size_t begin, end;
};

/// Groups that cover `ops` in order. `values`: as checked.
std::vector<OpGroup> GroupOps(std::span<const Op> ops, std::span<const Value> values);

/// Ops of a group read and write as if at one time, so what one of them reads lives until the last has run.
void ExtendToGroups(std::span<const OpGroup> groups, std::span<Value> values);

}  // namespace skein
