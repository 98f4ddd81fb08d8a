#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>

#include "cpu/cpu_backend.h"
#include "cpu/elementwise.h"
#include "cpu/logit_stats.h"
#include "cpu/part_block.h"
#include "cpu/sampler.h"

// The sample op of CpuBackend.
namespace skein::cpu {

void CpuBackend::InitSample() {
  const ProgramLimits& limits = program_.spec.limits;
  for (const OpGroup& group : program_.groups) {
    const Op& op = program_.spec.ops[group.end - 1];
    if (op.kind != OpKind::kSample) continue;
    const Value& logits = program_.values[static_cast<size_t>(op.inputs[0])];
    scratch_bytes_ = std::max(scratch_bytes_, logits.width * (2 * sizeof(float) + sizeof(int32_t)));
    slot_rules_.resize(limits.num_slots);
    top_ids_.resize(pool_.threads() * limits.max_logprobs);
    row_draws_.resize(pool_.threads() * limits.max_rows);
    if (group.end - group.begin < 3) continue;
    draw_widths_.resize(program_.spec.ops[group.begin + 1].widths.size());
    stored_draws_.resize(limits.max_rows * RowDraw::kMaxStoredFloats);
    gathered_draws_.resize(draw_widths_.size() * stored_draws_.size());
  }
}

SampleParams CpuBackend::ParamsOf(uint32_t row) const {
  const StepInput& in = *input_;
  return {.temperature = StepInput::Float(in.row_temperature, row),
          .top_k = static_cast<uint32_t>(in.row_top_k[row]),
          .top_p = StepInput::Float(in.row_top_p, row),
          .min_p = StepInput::Float(in.row_min_p, row),
          .seed_low = static_cast<uint32_t>(in.row_seed_low[row]),
          .seed_high = static_cast<uint32_t>(in.row_seed_high[row]),
          .choice = static_cast<uint32_t>(in.row_choice[row]),
          .position = static_cast<uint32_t>(in.row_position[row])};
}

/// Greedy or drawn, from logits whose maximum is `best`.
int32_t CpuBackend::ChooseToken(const float* logits, const ArgMax& best, uint32_t row, size_t thread) {
  const SampleParams params = ParamsOf(row);
  if (params.temperature == 0) return best.id;
  const size_t n = program_.spec.vocab_size;
  float* weights = Scratch(thread);
  return SampleToken(logits, n, best.value, params, {weights, reinterpret_cast<int32_t*>(weights + n)});
}

/// The same under the rules of the row's slot. Where they forbid every token, the likeliest of the allowed
/// ids is taken: an allow list holds always, bad words and min_tokens while they can.
int32_t CpuBackend::ChooseRuledToken(const float* logits, uint32_t row, size_t thread) {
  const SlotRules& rules = slot_rules_[static_cast<size_t>(input_->row_slot[row])];
  const size_t n = program_.spec.vocab_size;
  float* ruled = Scratch(thread) + 2 * n;
  std::copy(logits, logits + n, ruled);
  rules.AddBiasAndPenalties(ruled);
  rules.ForbidDisallowed(ruled, n);
  const ArgMax allowed = FindArgMax(ruled, n);
  if (!rules.forbids_some()) return ChooseToken(ruled, allowed, row, thread);
  rules.ForbidWordsAndStops(ruled);
  const ArgMax best = FindArgMax(ruled, n);
  return best.value == kForbidden ? allowed.id : ChooseToken(ruled, best, row, thread);
}

bool CpuBackend::SampleRow(const Matrix& logits, uint32_t row, size_t thread, StepOutput* output) {
  const StepInput& in = *input_;
  const float* x = logits.data + row * logits.stride;
  const size_t n = program_.spec.vocab_size;
  const ArgMax best = FindArgMax(x, n);
  if (!best.finite) return false;
  int32_t id = in.row_target[row];
  if (id < 0) {
    id = in.row_ruled[row] == 1 ? ChooseRuledToken(x, row, thread) : ChooseToken(x, best, row, thread);
  }
  output->SetToken(row, id);
  int32_t wanted = in.row_num_logprobs[row];
  if (wanted < 0) return true;
  const double log_sum = std::log(SumExp(x, n, best.value, 1.0f));
  const auto logprob = [&](int32_t i) {
    return static_cast<float>(double{x[i]} - double{best.value} - log_sum);
  };
  output->SetLogprob(row, logprob(id),
                     static_cast<int32_t>(CountBefore(x, n, x[id], static_cast<size_t>(id)) + 1));
  int32_t* top = top_ids_.data() + thread * program_.spec.limits.max_logprobs;
  const SlotRules* rules =
      in.row_ruled[row] == 1 ? &slot_rules_[static_cast<size_t>(in.row_slot[row])] : nullptr;
  if (rules == nullptr || rules->logprob_ids().empty()) {
    TopIds(x, n, static_cast<size_t>(wanted), top);
  } else {
    wanted = std::min(wanted, static_cast<int32_t>(rules->logprob_ids().size()));
    std::copy_n(rules->logprob_ids().begin(), wanted, top);
  }
  for (int32_t i = 0; i < wanted; ++i) output->SetTop(row, static_cast<uint32_t>(i), top[i], logprob(top[i]));
  return true;
}

/// Takes in the step's new rules. kStepInput names a row whose slot does not stand where the leader thinks.
Status CpuBackend::InstallRules() {
  const StepInput& in = *input_;
  LogitRules rules;
  for (uint32_t i = 0; i < in.num_rules; ++i) {
    if (Status s = ParseLogitRules(in.Rules(i), program_.spec, &rules); !s.ok()) return s;
    slot_rules_[static_cast<size_t>(rules.slot)].Install(rules);
  }
  for (uint32_t r = 0; r < in.num_rows; ++r) {
    if (in.row_ruled[r] == 0) continue;
    const size_t num_outputs = slot_rules_[static_cast<size_t>(in.row_slot[r])].num_outputs();
    if (num_outputs != static_cast<size_t>(in.row_position[r])) {
      return {Code::kStepInput, "row " + std::to_string(r) + " samples output " +
                                    std::to_string(in.row_position[r]) + " of slot " +
                                    std::to_string(in.row_slot[r]) + ", whose rules know of " +
                                    std::to_string(num_outputs)};
    }
  }
  return Status::Ok();
}

/// Chooses the tokens of rows that `whole` names from their logits, and of the others from what the threads
/// have seen of them.
template <typename Whole>
Status CpuBackend::SampleRows(const Matrix& logits, StepOutput* output, const Whole& whole) {
  std::atomic<uint32_t> bad_row{UINT32_MAX};
  pool_.Run(logits.rows, cancelled_, [&](size_t row, size_t thread) {
    const auto r = static_cast<uint32_t>(row);
    if (!(whole(r) ? SampleRow(logits, r, thread, output) : MergeRow(r, output))) bad_row.store(r);
  });
  if (cancelled_.load(std::memory_order_relaxed)) return {Code::kAborted, "the step was aborted"};
  if (bad_row.load() != UINT32_MAX) {
    return {Code::kInternal, "the logits of row " + std::to_string(bad_row.load()) + " are not finite"};
  }
  for (uint32_t r = 0; r < input_->num_rows; ++r) {
    if (input_->row_ruled[r] == 1) {
      slot_rules_[static_cast<size_t>(input_->row_slot[r])].Append(output->token(r));
    }
  }
  return Status::Ok();
}

bool CpuBackend::NeedsLogits(uint32_t row) const {
  const StepInput& in = *input_;
  return in.row_ruled[row] == 1 || in.row_num_logprobs[row] >= 0 || !RowDraw::Suffices(ParamsOf(row));
}

bool CpuBackend::MergeRow(uint32_t row, StepOutput* output) {
  RowDraw& draw = RowDrawOf(row, 0);
  for (size_t thread = 1; thread < pool_.threads(); ++thread) draw.Merge(RowDrawOf(row, thread));
  if (!draw.finite()) return false;
  const int32_t target = input_->row_target[row];
  output->SetToken(row, target >= 0 ? target : draw.Token());
  return true;
}

Status CpuBackend::Sample(Matrix logits, StepOutput* output) {
  Flush();
  if (Status s = InstallRules(); !s.ok()) return s;
  return SampleRows(logits, output, [](uint32_t) { return true; });
}

/// Makes of what this rank has seen of the rows what all ranks have: of rows that `whole` names the logits,
/// of others the draws.
template <typename Whole>
Status CpuBackend::ShareRows(const SampledHead& head, const Whole& whole) {
  size_t floats = 0;
  for (uint32_t r = 0; r < input_->num_rows; ++r) {
    if (whole(r)) continue;
    RowDraw& draw = RowDrawOf(r, 0);
    for (size_t thread = 1; thread < pool_.threads(); ++thread) {
      draw.Merge(RowDrawOf(r, thread));
      RowDrawOf(r, thread).Begin(ParamsOf(r));
    }
    draw.Store(&stored_draws_[floats]);
    floats += draw.StoredFloats();
  }
  Communicator& ranks = *head.ranks;
  std::fill(draw_widths_.begin(), draw_widths_.end(), static_cast<uint32_t>(floats));
  const size_t all = floats * ranks.size();
  if (Status s = ranks.AllGather("sample", {stored_draws_.data(), 1, floats, floats}, draw_widths_,
                                 {gathered_draws_.data(), 1, all, all});
      !s.ok()) {
    return s;
  }
  size_t at = 0;
  for (uint32_t r = 0; r < input_->num_rows; ++r) {
    if (whole(r)) {
      const Matrix row{head.logits.data + r * head.logits.stride, 1, head.logits.width, head.logits.stride};
      const Matrix own = row.Columns(ColumnsBefore(head.widths, ranks.rank()), head.part.weight.rows);
      if (Status s = ranks.AllGather("sample", own, head.widths, row); !s.ok()) return s;
      continue;
    }
    RowDraw& draw = RowDrawOf(r, 0);
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      if (rank != ranks.rank()) draw.MergeStored(&gathered_draws_[rank * floats + at]);
    }
    at += draw.StoredFloats();
  }
  return Status::Ok();
}

Status CpuBackend::SampleLogits(Matrix x, const SampledHead& head, StepOutput* output) {
  if (Status s = InstallRules(); !s.ok()) return s;
  const auto whole = [&](uint32_t row) { return head.keep_logits || NeedsLogits(row); };
  for (uint32_t r = 0; r < x.rows; ++r) {
    for (size_t thread = 0; thread < pool_.threads(); ++thread) RowDrawOf(r, thread).Begin(ParamsOf(r));
  }
  const LinearPart& part = head.part;
  const QuantizedRows codes = Quantize(x, part.weight, linear_codes_.data());
  Flush();
  const size_t first_id = head.ranks != nullptr ? ColumnsBefore(head.widths, head.ranks->rank()) : 0;
  // Rows of the head past the vocabulary are padding.
  const size_t vocab = program_.spec.vocab_size, ids = vocab - std::min(vocab, first_id);
  const PartGrid grid(part.weight, x.rows);
  pool_.Run(grid.items(), cancelled_, [&](size_t item, size_t thread) {
    const PartGrid::Block b = grid.At(item);
    if (b.rows() == 0) return;
    const Matrix block = BlockProduct(x, codes, part, b, thread, 0);
    const size_t cols = std::min(b.col_end, ids) - std::min(b.col_begin, ids);
    for (size_t r = 0; r < b.rows(); ++r) {
      float* logits = block.data + r * block.stride;
      const auto row = static_cast<uint32_t>(b.row_begin + r);
      if (head.soft_cap > 0) SoftCapRow(logits, head.soft_cap, b.cols(), logits);
      if (whole(row)) {
        std::copy_n(logits, b.cols(), part.out.data + row * part.out.stride + b.col_begin);
      } else if (cols > 0) {
        RowDrawOf(row, thread).Add(logits, cols, static_cast<int32_t>(first_id + b.col_begin));
      }
    }
  });
  if (head.ranks == nullptr) return SampleRows(part.out, output, whole);
  if (Status s = ShareRows(head, whole); !s.ok()) return s;
  return SampleRows(head.logits, output, whole);
}

}  // namespace skein::cpu
