#pragma once

#include <cstddef>
#include <vector>

#include "core/op_groups.h"
#include "core/program_spec.h"
#include "skein/status.h"

namespace skein {

/// What the rows of a value stand for.
enum class RowKind { kToken, kLogitRow };

/// An intermediate value: f32 [rows, width] with `stride` floats from row to row, at `offset` bytes in the
/// arena.
struct Value {
  bool defined = false;
  size_t width = 0;
  RowKind rows = RowKind::kToken;
  /// Index of the op that writes it and of the last one that reads it, or that runs with that one.
  size_t first_op = 0;
  size_t last_op = 0;
  /// Rows without padding, because the value crosses a channel or is handed out whole.
  bool packed = false;
  /// Of a route op's output: the number of experts that its ids are below; else 0.
  size_t routed_experts = 0;
  size_t stride = 0;
  size_t offset = 0;
};

/// A checked program with its buffers planned. Immutable.
struct Program {
  /// Checks ids, widths and limits of every op (kInvalidArgument names the op's index and both shapes) and
  /// plans the arena.
  static Status Create(ProgramSpec spec, Program* out);

  ProgramSpec spec;
  std::vector<Value> values;
  /// What runs as one.
  std::vector<OpGroup> groups;
  size_t arena_bytes = 0;
  size_t weight_bytes = 0;
  size_t kv_cache_bytes = 0;
  /// The value of the logits op, or of the allGather that puts the parts of several ranks together; or -1.
  int64_t logits = -1;
  bool samples = false;
};

}  // namespace skein
