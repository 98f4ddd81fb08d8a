#pragma once

#include "binding/fields.h"
#include "core/weight_source.h"

namespace skein::binding {

/// Copies a WeightSource of weight-source.ts; throws ERR_INVALID_ARGUMENT naming the first field of a wrong
/// type.
WeightSource ReadWeightSource(const Field& weight);

}  // namespace skein::binding
