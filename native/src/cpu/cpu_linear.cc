#include <algorithm>

#include "core/checked_math.h"
#include "cpu/cpu_backend.h"
#include "cpu/part_block.h"

namespace skein::cpu {
namespace {

/// How one of several linears is cut into items.
struct Grid {
  size_t block_rows, row_blocks, block_cols, col_blocks;

  Grid(const WeightView& weight, size_t rows) {
    // Equal blocks of rows, each a multiple of every tile height.
    row_blocks = CeilDiv(rows, PartMaxRows(weight));
    block_rows = RoundUp(CeilDiv(rows, row_blocks), 6);
    block_cols = PartBlockCols(weight, rows);
    col_blocks = CeilDiv(weight.rows, block_cols);
  }
  size_t items() const { return row_blocks * col_blocks; }
};

}  // namespace

Status CpuBackend::InitLinear() {
  scratch_bytes_ = std::max(scratch_bytes_, PartScratchBytes());
  size_t width = 0;
  for (const Op& op : program_.spec.ops) {
    if (op.kind == OpKind::kLinear || op.kind == OpKind::kLogits)
      width = std::max(width, program_.values[static_cast<size_t>(op.inputs[0])].width);
  }
  if (width == 0) return Status::Ok();
  // Takes no memory until a quantized weight is used.
  return MappedMemory::Allocate(QuantizedRowsBytes(program_.spec.limits.max_tokens, width), &linear_codes_);
}

QuantizedRows CpuBackend::Quantize(const Matrix& x, const WeightView& weight, std::byte* memory) {
  const QuantizedRows out = QuantizedRowsAt(memory, x.rows, x.width);
  ForRows(x.rows, x.width, [&](size_t begin, size_t end) {
    QuantizeRows(x.data + begin * x.stride, x.stride, weight.column_order, weight.row_scaled_activations,
                 out.Rows(begin, end - begin));
  });
  return out;
}

template <typename Choose>
void CpuBackend::RunParts(const Matrix& x, const QuantizedRows& codes, std::span<const LinearPart> parts,
                          const Choose& choose) {
  size_t items = 0;
  for (const LinearPart& part : parts)
    if (choose(part.weight)) items += Grid(part.weight, x.rows).items();
  pool_.Run(items, cancelled_, [&](size_t item, size_t thread) {
    for (const LinearPart& part : parts) {
      if (!choose(part.weight)) continue;
      const Grid grid(part.weight, x.rows);
      if (item >= grid.items()) {
        item -= grid.items();
        continue;
      }
      const size_t row = item / grid.col_blocks * grid.block_rows,
                   col = item % grid.col_blocks * grid.block_cols;
      if (row < x.rows) {
        PartBlock(x, codes, part, row, std::min(x.rows, row + grid.block_rows), col,
                  std::min(part.weight.rows, col + grid.block_cols), Scratch(thread));
      }
      return;
    }
  });
}

void CpuBackend::Linear(Matrix x, std::span<const LinearPart> parts) {
  if (x.rows == 0) return;
  bool floats =
      std::any_of(parts.begin(), parts.end(), [](const LinearPart& p) { return !IsQuantized(p.weight); });
  for (size_t i = 0; i < parts.size(); ++i) {
    // The first of those that read the same codes runs them all.
    const WeightView& lead = parts[i].weight;
    const auto like_lead = [&](const WeightView& w) { return IsQuantized(w) && SameActivations(w, lead); };
    if (!IsQuantized(lead) || std::any_of(parts.begin(), parts.begin() + static_cast<long>(i),
                                          [&](const LinearPart& p) { return like_lead(p.weight); })) {
      continue;
    }
    RunParts(x, Quantize(x, lead, linear_codes_.data()), parts,
             [&](const WeightView& w) { return like_lead(w) || (floats && !IsQuantized(w)); });
    floats = false;
  }
  if (floats) RunParts(x, {}, parts, [](const WeightView& w) { return !IsQuantized(w); });
}

}  // namespace skein::cpu
