#pragma once

#include "binding/fields.h"
#include "core/program_spec.h"

namespace skein::binding {

/// Copies a ProgramSpec of native.ts; throws ERR_INVALID_ARGUMENT naming the first field of a wrong type.
ProgramSpec ReadProgramSpec(const Field& spec);

}  // namespace skein::binding
