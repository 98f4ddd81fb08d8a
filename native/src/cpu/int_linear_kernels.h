#pragma once

#include <cstddef>

#include "cpu/int_linear.h"

/// What IntLinearBlock is made of: one translation unit per form of codes, since the tiles of one take long
/// to compile.
namespace skein::cpu {

// Columns that pass at once, and whose codes may be unpacked: 16 outputs x 1024 are half of a small L1.
constexpr size_t kIntChunkK = 2048;
constexpr size_t kUnpackChunkK = 1024;
// From here on, 4-bit codes are unpacked once for all rows.
constexpr size_t kUnpackMinRows = 24;
// Bytes fetched ahead of a single pass over the weights. Between 1 and 3 KiB nothing changes; 512 bytes come
// too late, and 4 KiB were no better (two threads, 4-bit codes).
constexpr size_t kIntAhead = 2048;
// Runs of a sum that wait for their neighbour, and the one in work: of 8 at most 4.
constexpr size_t kPendingRuns = 4;

/// Bytes of one thread's scratch per row of a panel: codes unpacked to bytes, and sums.
constexpr size_t kIntScratchRowBytes = kUnpackChunkK + kPendingRuns * kIntLinearMaxRows * sizeof(float);

/// As IntLinearBlock, of 4-bit and of 8-bit codes.
void IntLinearNibbles(const QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                      size_t col_begin, size_t col_end, float* scratch);
void IntLinearBytes(const QuantizedRows& x, const LinearPart& part, size_t row_begin, size_t row_end,
                    size_t col_begin, size_t col_end, float* scratch);

}  // namespace skein::cpu
