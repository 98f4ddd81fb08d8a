#pragma once

#include <cstddef>

#include "core/backend.h"

namespace skein::cpu {

/// out = x w for rows of x [rows, w.rows] and out [rows, w.cols]. Each element is summed over w's rows in
/// order, whatever the number of rows.
void AbsorbRows(const float* x, size_t x_stride, size_t rows, const WeightView& w, float* out,
                size_t out_stride);

}  // namespace skein::cpu
