#include "core/buffer_plan.h"

#include <algorithm>
#include <limits>

#include "core/checked_math.h"

namespace skein {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kLineFloats = kLineBytes / sizeof(float);

struct Placed {
  size_t begin, end, first_op, last_op;
};

}  // namespace

size_t PlanBuffers(const ProgramLimits& limits, int64_t keep_alive, std::vector<Value>* values) {
  std::vector<Placed> placed;
  size_t arena = 0;
  for (size_t id = 0; id < values->size(); ++id) {
    Value& value = (*values)[id];
    if (!value.defined) continue;
    if (static_cast<int64_t>(id) == keep_alive) value.last_op = std::numeric_limits<size_t>::max();
    // One line past a multiple of the line: rows of a power-of-two width would all fall into the same cache
    // sets.
    value.stride = value.packed ? value.width : RoundUp(value.width, kLineFloats) + kLineFloats;
    const size_t rows = value.rows == RowKind::kToken ? limits.max_tokens : limits.max_rows;
    size_t bytes;
    if (!CheckedMul(rows, value.stride, &bytes) || !CheckedMul(bytes, sizeof(float), &bytes)) return 0;
    if (bytes > std::numeric_limits<size_t>::max() / 4) return 0;
    bytes = RoundUp(bytes, kLineBytes);

    // Lowest gap among the neighbours in time; `placed` is ordered by `begin`.
    size_t at = 0;
    for (const Placed& other : placed) {
      const bool together = other.first_op <= value.last_op && value.first_op <= other.last_op;
      if (!together || other.end <= at) continue;
      if (other.begin >= at + bytes) break;
      at = other.end;
    }
    value.offset = at;
    if (!CheckedAdd(at, bytes, &bytes)) return 0;
    const Placed entry{at, bytes, value.first_op, value.last_op};
    placed.insert(std::upper_bound(placed.begin(), placed.end(), entry,
                                   [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
                  entry);
    arena = std::max(arena, bytes);
  }
  return std::max(arena, kLineBytes);
}

}  // namespace skein
