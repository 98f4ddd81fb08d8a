#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/checked_math.h"
#include "cpu/elementwise.h"

namespace skein::cpu {
Status CpuBackend::Init() {
  const ProgramLimits& limits = program_.spec.limits;
  token_sequence_.resize(limits.max_tokens);
  token_position_.resize(limits.max_tokens);
  deferred_.reserve(kMaxDeferred);
  if (Status s = InitLinear(); !s.ok()) return s;
  if (Status s = InitAttention(); !s.ok()) return s;
  rope_table_of_op_.resize(program_.spec.ops.size());
  for (size_t i = 0; i < program_.spec.ops.size(); ++i) {
    const Op& op = program_.spec.ops[i];
    if (op.kind != OpKind::kRope) continue;
    const auto same = [&](const RopeTable& t) {
      return t.op->inverse_frequencies == op.inverse_frequencies &&
             t.op->attention_factor == op.attention_factor;
    };
    auto it = std::find_if(rope_tables_.begin(), rope_tables_.end(), same);
    if (it == rope_tables_.end()) {
      const size_t size = limits.max_tokens * op.inverse_frequencies.size();
      it = rope_tables_.insert(it, {&op, false, std::vector<float>(size), std::vector<float>(size)});
    }
    rope_table_of_op_[i] = static_cast<size_t>(it - rope_tables_.begin());
  }
  InitSample();
  if (Status s = InitExperts(); !s.ok()) return s;
  // An odd number of lines apart, so that threads do not work on the same cache sets.
  scratch_bytes_ = RoundUp(scratch_bytes_, 4096) + 64;
  return MappedMemory::Allocate(scratch_bytes_ * pool_.threads(), &scratch_);
}

void CpuBackend::BeginStep(const StepInput& input) {
  input_ = &input;
  // Of a step that failed.
  deferred_.clear();
  ready_codes_ = {};
  for (uint32_t s = 0; s < input.num_seqs; ++s) {
    for (int32_t t = input.query_start[s]; t < input.query_start[s + 1]; ++t) {
      token_sequence_[static_cast<size_t>(t)] = s;
      token_position_[static_cast<size_t>(t)] =
          static_cast<uint32_t>(input.num_computed_tokens[s] + t - input.query_start[s]);
    }
  }
  for (RopeTable& table : rope_tables_) table.current = false;
}

void CpuBackend::Defer(RowOp op, size_t rows) {
  if (rows != deferred_rows_ || deferred_.size() == deferred_.capacity()) Flush();
  deferred_rows_ = rows;
  deferred_.push_back(op);
}

void CpuBackend::Flush() {
  if (deferred_.empty()) return;
  size_t elements = 0;
  for (const RowOp& op : deferred_) elements += RowElements(op);
  ForRows(deferred_rows_, elements, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r)
      for (const RowOp& op : deferred_) RunRow(op, r);
  });
  deferred_.clear();
}

void CpuBackend::Embed(const Op& op, const WeightView& weight, const int32_t* ids, Matrix out) {
  Defer(EmbedRow{weight, ids, op.scale, out}, out.rows);
}

void CpuBackend::RmsNorm(const Op& op, const float* weight, size_t norm_width, Matrix x, Matrix out) {
  Defer(NormRow{{weight, op.weight_offset, op.eps}, norm_width, x, out}, x.rows);
}

void CpuBackend::FillRopeTable(RopeTable& table) {
  const std::vector<float>& frequencies = table.op->inverse_frequencies;
  const size_t half = frequencies.size();
  ForRows(input_->num_tokens, half * 16, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      for (size_t i = 0; i < half; ++i) {
        // The product is rounded to f32 as Hugging Face's is; only then is the angle exact.
        const float angle = static_cast<float>(token_position_[t]) * frequencies[i];
        table.cos[t * half + i] =
            static_cast<float>(std::cos(static_cast<double>(angle))) * table.op->attention_factor;
        table.sin[t * half + i] =
            static_cast<float>(std::sin(static_cast<double>(angle))) * table.op->attention_factor;
      }
    }
  });
  table.current = true;
}

void CpuBackend::Rope(const Op& op, Matrix x, Matrix out) {
  RopeTable& table = rope_tables_[rope_table_of_op_[static_cast<size_t>(&op - program_.spec.ops.data())]];
  if (!table.current) FillRopeTable(table);
  Defer(RopeRow{&op, table.cos.data(), table.sin.data(), x, out}, x.rows);
}

void CpuBackend::SiluMul(Matrix gate, Matrix up, Matrix out) {
  Defer(GateRow{false, gate, up, out}, out.rows);
}

void CpuBackend::GeluTanhMul(Matrix gate, Matrix up, Matrix out) {
  Defer(GateRow{true, gate, up, out}, out.rows);
}

void CpuBackend::SoftCap(float cap, Matrix x) {
  Flush();
  ForRows(x.rows, x.width, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r)
      SoftCapRow(x.data + r * x.stride, cap, x.width, x.data + r * x.stride);
  });
}

void CpuBackend::Add(Matrix a, Matrix b, Matrix out) { Defer(AddRows{a, b, out}, out.rows); }

void CpuBackend::GatherRows(Matrix x, const int32_t* row_token, Matrix out) {
  Flush();
  for (size_t r = 0; r < out.rows; ++r) {
    std::memcpy(out.data + r * out.stride, x.data + static_cast<size_t>(row_token[r]) * x.stride,
                out.width * sizeof(float));
  }
}

}  // namespace skein::cpu
