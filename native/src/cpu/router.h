#pragma once

#include <cstddef>

#include "core/program_spec.h"

namespace skein::cpu {

/// Floats of scratch RouteRow needs.
constexpr size_t RouteScratchFloats(size_t num_experts) { return 4 * num_experts; }

/// Picks the experts of one token. logits [num_experts]; bias [num_experts], or null, takes part in the
/// choice and not in the weights. out [2 * top_k]: expert ids ascending, as floats, then their weights. Ties
/// go to the lower id; logits that are not finite still give distinct ids in range.
void RouteRow(const RouteSpec& route, const float* logits, const float* bias, size_t num_experts,
              float* scratch, float* out);

}  // namespace skein::cpu
