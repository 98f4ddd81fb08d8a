#include <algorithm>

#include "core/checked_math.h"
#include "cpu/cpu_backend.h"
#include "cpu/elementwise.h"
#include "cpu/linear.h"
#include "cpu/part_block.h"
#include "cpu/router.h"

namespace skein::cpu {
namespace {

/// Bytes of rows gathered for experts at once. Enough that each expert's weights are read once per step of a
/// few hundred tokens; a longer chunk takes more rounds.
constexpr size_t kRoundBytes = size_t{32} << 20;

/// As PlanBuffers: a line past a multiple, so that rows do not fall into the same cache sets.
size_t PaddedStride(size_t width) { return RoundUp(width, 16) + 16; }

Matrix RowsOf(const Matrix& m, size_t first, size_t rows) {
  return {m.data + first * m.stride, rows, m.width, m.stride};
}

}  // namespace

Status CpuBackend::InitExperts() {
  size_t top_k = 0, experts = 0, hidden = 0, inter = 0;
  for (const Op& op : program_.spec.ops) {
    if (op.kind == OpKind::kRoute) {
      const Value& logits = program_.values[static_cast<size_t>(op.inputs[0])];
      scratch_bytes_ = std::max(scratch_bytes_, RouteScratchFloats(logits.width) * sizeof(float));
    }
    if (op.kind != OpKind::kExperts) continue;
    top_k = std::max(top_k, program_.values[static_cast<size_t>(op.inputs[1])].width / 2);
    experts = std::max(experts, op.experts.size());
    hidden = std::max(hidden, program_.values[static_cast<size_t>(op.inputs[0])].width);
    for (const ExpertWeightIds& e : op.experts)
      inter =
          std::max(inter, static_cast<size_t>(program_.spec.weights[static_cast<size_t>(e.gate)].shape[0]));
  }
  if (experts == 0) return Status::Ok();
  const size_t max_tokens = program_.spec.limits.max_tokens;
  const size_t hidden_stride = PaddedStride(hidden), inter_stride = PaddedStride(inter);
  const size_t rows =
      std::min(max_tokens * top_k, std::max(kLinearMaxRows, kRoundBytes / (hidden_stride * sizeof(float))));
  expert_dispatch_.Reserve(max_tokens, top_k, experts, rows);
  if (Status s =
          MappedMemory::Allocate(rows * (hidden_stride + 2 * inter_stride) * sizeof(float), &expert_rows_);
      !s.ok()) {
    return s;
  }
  // These take no memory until a quantized weight is used.
  const size_t code_bytes = QuantizedRowsBytes(rows, std::max(hidden, inter));
  if (Status s = MappedMemory::Allocate(code_bytes, &gate_codes_); !s.ok()) return s;
  if (Status s = MappedMemory::Allocate(code_bytes, &up_codes_); !s.ok()) return s;
  expert_x_ = reinterpret_cast<float*>(expert_rows_.data());
  expert_gate_ = expert_x_ + rows * hidden_stride;
  expert_up_ = expert_gate_ + rows * inter_stride;
  return Status::Ok();
}

void CpuBackend::Route(const Op& op, Matrix logits, const float* bias, Matrix out) {
  Flush();
  const size_t chunk = std::max<size_t>(1, (size_t{1} << 13) / logits.width);
  pool_.Run(CeilDiv(logits.rows, chunk), cancelled_, [&](size_t item, size_t thread) {
    for (size_t t = item * chunk; t < std::min(logits.rows, (item + 1) * chunk); ++t)
      RouteRow(op.route, logits.data + t * logits.stride, bias, logits.width, Scratch(thread),
               out.data + t * out.stride);
  });
}

/// body(group, first column, end column, thread) for blocks of output columns of every group; `weight` is
/// like those of all experts.
template <typename Body>
void CpuBackend::ForExpertBlocks(const WeightView& weight, const Body& body) {
  const size_t cols = weight.rows;
  const std::span<const ExpertGroup> groups = expert_dispatch_.groups();
  const auto blocks = [&](const ExpertGroup& g) { return CeilDiv(cols, PartBlockCols(weight, g.rows)); };
  group_items_.clear();
  size_t items = 0;
  for (const ExpertGroup& g : groups) group_items_.push_back(items += blocks(g));
  pool_.Run(items, cancelled_, [&](size_t item, size_t thread) {
    const auto at = std::upper_bound(group_items_.begin(), group_items_.end(), item) - group_items_.begin();
    const ExpertGroup& g = groups[static_cast<size_t>(at)];
    const size_t step = PartBlockCols(weight, g.rows);
    const size_t first = (item - (group_items_[static_cast<size_t>(at)] - blocks(g))) * step;
    body(g, first, std::min(cols, first + step), thread);
  });
}

void CpuBackend::Experts(std::span<const ExpertWeights> experts, Matrix x, Matrix routes, Matrix out) {
  Flush();
  expert_dispatch_.Assign(experts, routes);
  ForRows(out.rows, out.width, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) std::fill_n(out.data + t * out.stride, out.width, 0.0f);
  });
  for (size_t round = 0; round < expert_dispatch_.num_rounds(); ++round) {
    expert_dispatch_.BeginRound(round);
    ExpertRound(experts, x, out);
  }
}

QuantizedRows CpuBackend::QuantizeForExperts(const Matrix& x, std::span<const ExpertWeights> experts,
                                             WeightView ExpertWeights::* weight, std::byte* memory) {
  const std::span<const ExpertGroup> groups = expert_dispatch_.groups();
  const QuantizedRows out = QuantizedRowsAt(memory, x.rows, x.width, ActivationBlock(experts[0].*weight));
  pool_.Run(groups.size(), cancelled_, [&](size_t item, size_t) {
    const ExpertGroup& g = groups[item];
    const WeightView& w = experts[g.expert].*weight;
    if (!IsQuantized(w)) return;
    QuantizeRows(x.data + g.first_row * x.stride, x.stride, w.column_order, w.row_scaled_activations,
                 out.Rows(g.first_row, g.rows));
  });
  return out;
}

void CpuBackend::ExpertRound(std::span<const ExpertWeights> experts, const Matrix& x, const Matrix& out) {
  const ExpertDispatch& dispatch = expert_dispatch_;
  const size_t rows = dispatch.num_rows(), hidden = x.width, inter = experts[0].gate.rows;
  const Matrix gathered{expert_x_, rows, hidden, PaddedStride(hidden)};
  const Matrix gate{expert_gate_, rows, inter, PaddedStride(inter)};
  const Matrix up{expert_up_, rows, inter, PaddedStride(inter)};
  ForRows(rows, hidden, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const float* from = x.data + dispatch.token(r) * x.stride;
      std::copy_n(from, hidden, gathered.data + r * gathered.stride);
    }
  });
  const auto any = [&](const auto& holds) { return std::any_of(experts.begin(), experts.end(), holds); };
  QuantizedRows gate_codes, up_codes, down_codes;
  if (any([](const ExpertWeights& e) { return IsQuantized(e.gate) || IsQuantized(e.up); })) {
    gate_codes = QuantizeForExperts(gathered, experts, &ExpertWeights::gate, gate_codes_.data());
    const bool same =
        !any([](const ExpertWeights& e) { return !IsQuantized(e.gate) || !SameActivations(e.gate, e.up); });
    up_codes =
        same ? gate_codes : QuantizeForExperts(gathered, experts, &ExpertWeights::up, up_codes_.data());
  }
  ForExpertBlocks(experts[0].gate, [&](const ExpertGroup& g, size_t begin, size_t end, size_t thread) {
    const ExpertWeights& expert = experts[g.expert];
    const Matrix in = RowsOf(gathered, g.first_row, g.rows), gates = RowsOf(gate, g.first_row, g.rows),
                 ups = RowsOf(up, g.first_row, g.rows);
    PartBlock(in, gate_codes.Rows(g.first_row, g.rows), {expert.gate, nullptr, gates}, 0, g.rows, begin, end,
              Scratch(thread));
    PartBlock(in, up_codes.Rows(g.first_row, g.rows), {expert.up, nullptr, ups}, 0, g.rows, begin, end,
              Scratch(thread));
    for (size_t r = 0; r < g.rows; ++r) {
      float* row = gates.data + r * gates.stride + begin;
      SiluMulRow(row, ups.data + r * ups.stride + begin, end - begin, row);
    }
  });
  // The gathered rows are used up: the experts' results take their place.
  if (any([](const ExpertWeights& e) { return IsQuantized(e.down); }))
    down_codes = QuantizeForExperts(gate, experts, &ExpertWeights::down, gate_codes_.data());
  ForExpertBlocks(experts[0].down, [&](const ExpertGroup& g, size_t begin, size_t end, size_t thread) {
    PartBlock(RowsOf(gate, g.first_row, g.rows), down_codes.Rows(g.first_row, g.rows),
              {experts[g.expert].down, nullptr, RowsOf(gathered, g.first_row, g.rows)}, 0, g.rows, begin, end,
              Scratch(thread));
  });
  ForRows(out.rows, hidden, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      dispatch.ForToken(t, [&](size_t row, float weight) {
        AddScaledRow(gathered.data + row * gathered.stride, weight, hidden, out.data + t * out.stride);
      });
    }
  });
}

}  // namespace skein::cpu
