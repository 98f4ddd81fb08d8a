#pragma once

#include <cstddef>
#include <vector>

#include "core/program.h"

namespace skein {

/// Fills `stride` and `offset` of every value so that no two values that are alive at the same op overlap;
/// arena size in bytes, 0 when it does not fit in size_t. A value is alive from the op that writes it to the
/// last that reads it, both included, so no op writes over its own inputs. `keep_alive` (-1: none) lives to
/// the end.
size_t PlanBuffers(const ProgramLimits& limits, int64_t keep_alive, std::vector<Value>* values);

}  // namespace skein
