#include <algorithm>

#include "core/checked_math.h"
#include "cpu/cpu_backend.h"
#include "cpu/elementwise.h"
#include "cpu/part_block.h"

namespace skein::cpu {
Status CpuBackend::InitLinear() {
  size_t width = 0, gated = 0;
  for (const OpGroup& group : program_.groups) {
    for (size_t i = group.begin; i < group.end; ++i) {
      const Op& op = program_.spec.ops[i];
      if (op.kind == OpKind::kLinear || op.kind == OpKind::kLogits)
        width = std::max(width, program_.values[static_cast<size_t>(op.inputs[0])].width);
    }
    const Op& last = program_.spec.ops[group.end - 1];
    if (group.fusion == Fusion::kGated)
      gated = std::max(gated, program_.values[static_cast<size_t>(last.out)].width);
  }
  const size_t blocks = width > 0 ? 2 * kPartBlockFloats * sizeof(float) : 0;
  scratch_bytes_ = std::max(scratch_bytes_, RoundUp(PartScratchBytes(), 64) + blocks);
  // These take no memory until a quantized weight is used.
  const size_t rows = std::max(program_.spec.limits.max_tokens, program_.spec.limits.max_rows);
  if (width > 0) {
    if (Status s = MappedMemory::Allocate(QuantizedRowsBytes(rows, width), &linear_codes_); !s.ok()) return s;
  }
  return gated == 0 ? Status::Ok() : MappedMemory::Allocate(QuantizedRowsBytes(rows, gated), &gated_codes_);
}

Matrix CpuBackend::BlockProduct(const Matrix& x, const QuantizedRows& codes, const LinearPart& part,
                                const PartGrid::Block& b, size_t thread, size_t index) {
  float* data = Scratch(thread) + RoundUp(PartScratchBytes(), 64) / sizeof(float) + index * kPartBlockFloats;
  const Matrix block{data, b.rows(), b.cols(), b.cols()};
  PartBlock(x, codes, {part.weight, part.bias, block, b.row_begin, b.col_begin}, b.row_begin, b.row_end,
            b.col_begin, b.col_end, Scratch(thread));
  return block;
}

QuantizedRows CpuBackend::Quantize(const Matrix& x, const WeightView& weight, std::byte* memory) {
  if (!IsQuantized(weight)) return {};
  if (ready_codes_.x == x.data) return ready_codes_.codes;
  const QuantizedRows out = QuantizedRowsAt(memory, x.rows, x.width, ActivationBlock(weight));
  Defer(QuantizeRow{weight.column_order, weight.row_scaled_activations, x, out}, x.rows);
  return out;
}

template <typename Choose>
void CpuBackend::RunParts(const Matrix& x, const QuantizedRows& codes, std::span<const LinearPart> parts,
                          const Choose& choose) {
  Flush();
  size_t items = 0;
  for (const LinearPart& part : parts)
    if (choose(part.weight)) items += PartGrid(part.weight, x.rows).items();
  pool_.Run(items, cancelled_, [&](size_t item, size_t thread) {
    for (const LinearPart& part : parts) {
      if (!choose(part.weight)) continue;
      const PartGrid grid(part.weight, x.rows);
      if (item >= grid.items()) {
        item -= grid.items();
        continue;
      }
      const PartGrid::Block b = grid.At(item);
      if (b.rows() > 0)
        PartBlock(x, codes, part, b.row_begin, b.row_end, b.col_begin, b.col_end, Scratch(thread));
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
  ready_codes_ = {};
}

void CpuBackend::GatedLinear(Matrix x, const GatedParts& parts, Matrix out) {
  if (x.rows == 0) return;
  const WeightView &gate = parts.gate.weight, &up = parts.up.weight;
  const bool alike = gate.layout == up.layout && gate.dtype == up.dtype && gate.bits == up.bits &&
                     (!IsQuantized(gate) || SameActivations(gate, up));
  const bool gelu = parts.product == OpKind::kGeluTanhMul;
  if (!alike) {
    const LinearPart both[] = {parts.gate, parts.up};
    Linear(x, both);
    return Defer(GateRow{gelu, parts.gate.out, parts.up.out, out}, out.rows);
  }
  const QuantizedRows codes = Quantize(x, gate, linear_codes_.data());
  Flush();
  // A block of the result can be quantized at once where its scales are its own.
  const WeightView* reader = parts.reader;
  const bool quantizes = reader != nullptr && IsQuantized(*reader) && reader->column_order == nullptr &&
                         !reader->row_scaled_activations;
  const QuantizedRows out_codes =
      quantizes ? QuantizedRowsAt(gated_codes_.data(), out.rows, out.width, ActivationBlock(*reader))
                : QuantizedRows{};
  const PartGrid grid(gate, x.rows, quantizes ? out_codes.block : 1);
  pool_.Run(grid.items(), cancelled_, [&](size_t item, size_t thread) {
    const PartGrid::Block b = grid.At(item);
    if (b.rows() == 0) return;
    const Matrix gates = BlockProduct(x, codes, parts.gate, b, thread, 0),
                 ups = BlockProduct(x, codes, parts.up, b, thread, 1);
    for (size_t r = 0; r < b.rows(); ++r) {
      float* row = gates.data + r * gates.stride;
      float* to = quantizes ? row : out.data + (b.row_begin + r) * out.stride + b.col_begin;
      (gelu ? GeluTanhMulRow : SiluMulRow)(row, ups.data + r * ups.stride, b.cols(), to);
      if (quantizes)
        QuantizeRows(to, 0, nullptr, false, out_codes.Columns(b.row_begin + r, b.col_begin, b.cols()));
    }
  });
  ready_codes_ = {quantizes ? out.data : nullptr, out_codes};
}

}  // namespace skein::cpu
