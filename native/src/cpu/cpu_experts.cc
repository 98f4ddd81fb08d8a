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

}  // namespace

Status CpuBackend::InitExperts() {
  size_t top_k = 0, experts = 0, copies = 0, hidden = 0, inter = 0, ranks = 0, sources = 1;
  for (const Op& op : program_.spec.ops) {
    if (op.kind == OpKind::kRoute) {
      const Value& logits = program_.values[static_cast<size_t>(op.inputs[0])];
      scratch_bytes_ = std::max(scratch_bytes_, RouteScratchFloats(logits.width) * sizeof(float));
    }
    if (op.kind != OpKind::kExperts) continue;
    top_k = std::max(top_k, program_.values[static_cast<size_t>(op.inputs[1])].width / 2);
    experts = std::max({experts, op.experts.size(), op.owners.size()});
    sources = std::max<size_t>(sources, op.num_sources());
    size_t op_copies = 0;
    for (const std::vector<uint32_t>& owners : op.owners) op_copies += owners.size();
    copies = std::max(copies, op_copies);
    for (const RankGroup& group : program_.spec.groups)
      if (group.name == op.group) ranks = std::max<size_t>(ranks, group.size);
    hidden = std::max(hidden, program_.values[static_cast<size_t>(op.inputs[0])].width);
    for (const ExpertWeightIds& e : op.experts)
      inter =
          std::max(inter, static_cast<size_t>(program_.spec.weights[static_cast<size_t>(e.gate)].shape[0]));
  }
  if (experts == 0) return Status::Ok();
  const size_t max_tokens = program_.spec.limits.max_tokens;
  const size_t hidden_stride = PaddedStride(hidden), inter_stride = PaddedStride(inter);
  const size_t rows =
      std::min(sources * max_tokens * top_k,
               std::max({kLinearMaxRows, sources * top_k, kRoundBytes / (hidden_stride * sizeof(float))}));
  expert_dispatch_.Reserve(std::max(max_tokens, CeilDiv(rows, top_k)), top_k, experts, rows, ranks, copies);
  expert_x_rows_.resize(std::max(max_tokens, CeilDiv(rows, top_k)));
  if (ranks > 0) {
    expert_sends_.resize(ranks);
    expert_receives_.resize(ranks);
    spread_first_.resize(sources + 1);
    spread_out_.resize(rows);
    if (Status s =
            MappedMemory::Allocate(rows * (2 * hidden_stride + 2 * top_k) * sizeof(float), &spread_rows_);
        !s.ok()) {
      return s;
    }
    spread_sent_ = reinterpret_cast<float*>(spread_rows_.data());
    spread_received_ = spread_sent_ + rows * hidden_stride;
    spread_routes_ = spread_received_ + rows * hidden_stride;
  }
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

Status CpuBackend::Experts(const ExpertMixture& mixture, Matrix x, Matrix routes, Matrix out) {
  Flush();
  ForRows(out.rows, out.width, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) std::fill_n(out.data + t * out.stride, out.width, 0.0f);
  });
  if (mixture.ranks != nullptr) return SpreadExperts(mixture, x, routes, out);
  ExpertDispatch& dispatch = expert_dispatch_;
  dispatch.Assign(mixture.experts, routes);
  for (size_t t = 0; t < x.rows; ++t) expert_x_rows_[t] = x.data + t * x.stride;
  for (size_t round = 0; round < dispatch.num_rounds(); ++round) {
    dispatch.BeginRound(round);
    const Matrix rows = RoundRows(x.width);
    ExpertRound(mixture, rows);
    ForRows(out.rows, out.width, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        dispatch.ForToken(t, [&](size_t row, float weight) {
          AddScaledRow(rows.data + row * rows.stride, weight, out.width, out.data + t * out.stride);
        });
      }
    });
  }
  return Status::Ok();
}

Matrix CpuBackend::RoundRows(size_t width) {
  return {expert_x_, expert_dispatch_.num_rows(), width, PaddedStride(width)};
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

void CpuBackend::ExpertRound(const ExpertMixture& mixture, const Matrix& rows) {
  const std::span<const ExpertWeights> experts = mixture.experts;
  const ExpertDispatch& dispatch = expert_dispatch_;
  if (dispatch.groups().empty()) return;
  if (mixture.counts != nullptr)
    for (const ExpertGroup& g : dispatch.groups()) mixture.counts->Add(g.expert, g.rows);
  const size_t inter = experts[0].gate.rows, first_own = dispatch.first_own();
  const Matrix gate{expert_gate_, rows.rows, inter, PaddedStride(inter)};
  const Matrix up{expert_up_, rows.rows, inter, PaddedStride(inter)};
  ForRows(dispatch.end_own() - first_own, rows.width, [&](size_t begin, size_t end) {
    for (size_t r = first_own + begin; r < first_own + end; ++r)
      std::copy_n(expert_x_rows_[dispatch.token(r)], rows.width, rows.data + r * rows.stride);
  });
  const auto any = [&](const auto& holds) { return std::any_of(experts.begin(), experts.end(), holds); };
  QuantizedRows gate_codes, up_codes, down_codes;
  if (any([](const ExpertWeights& e) { return IsQuantized(e.gate) || IsQuantized(e.up); })) {
    gate_codes = QuantizeForExperts(rows, experts, &ExpertWeights::gate, gate_codes_.data());
    const bool same =
        !any([](const ExpertWeights& e) { return !IsQuantized(e.gate) || !SameActivations(e.gate, e.up); });
    up_codes = same ? gate_codes : QuantizeForExperts(rows, experts, &ExpertWeights::up, up_codes_.data());
  }
  ForExpertBlocks(experts[0].gate, [&](const ExpertGroup& g, size_t begin, size_t end, size_t thread) {
    const ExpertWeights& expert = experts[g.expert];
    const Matrix in = rows.Rows(g.first_row, g.rows), gates = gate.Rows(g.first_row, g.rows),
                 ups = up.Rows(g.first_row, g.rows);
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
    PartBlock(gate.Rows(g.first_row, g.rows), down_codes.Rows(g.first_row, g.rows),
              {experts[g.expert].down, nullptr, rows.Rows(g.first_row, g.rows)}, 0, g.rows, begin, end,
              Scratch(thread));
  });
}

}  // namespace skein::cpu
