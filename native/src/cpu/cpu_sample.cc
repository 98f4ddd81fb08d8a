#include <atomic>
#include <cmath>
#include <string>

#include "cpu/cpu_backend.h"
#include "cpu/logit_stats.h"
#include "cpu/sampler.h"

// The sample op of CpuBackend.
namespace skein::cpu {

bool CpuBackend::SampleRow(const Matrix& logits, uint32_t row, size_t thread, StepOutput* output) {
  const StepInput& in = *input_;
  const float* x = logits.data + row * logits.stride;
  const size_t n = program_.spec.vocab_size;
  const ArgMax best = FindArgMax(x, n);
  if (!best.finite) return false;
  int32_t id = in.row_target[row];
  if (id < 0) {
    id = best.id;
    const float temperature = StepInput::Float(in.row_temperature, row);
    if (temperature > 0) {
      float* weights = Scratch(thread);
      id = SampleToken(x, n, best.value,
                       {.temperature = temperature,
                        .top_k = static_cast<uint32_t>(in.row_top_k[row]),
                        .top_p = StepInput::Float(in.row_top_p, row),
                        .min_p = StepInput::Float(in.row_min_p, row),
                        .seed_low = static_cast<uint32_t>(in.row_seed_low[row]),
                        .seed_high = static_cast<uint32_t>(in.row_seed_high[row]),
                        .choice = static_cast<uint32_t>(in.row_choice[row]),
                        .position = static_cast<uint32_t>(in.row_position[row])},
                       {weights, reinterpret_cast<int32_t*>(weights + logits.width)});
    }
  }
  output->SetToken(row, id);
  const int32_t wanted = in.row_num_logprobs[row];
  if (wanted < 0) return true;
  const double log_sum = std::log(SumExp(x, n, best.value, 1.0f));
  const auto logprob = [&](int32_t i) {
    return static_cast<float>(double{x[i]} - double{best.value} - log_sum);
  };
  output->SetLogprob(row, logprob(id),
                     static_cast<int32_t>(CountBefore(x, n, x[id], static_cast<size_t>(id)) + 1));
  int32_t* top = top_ids_.data() + thread * program_.spec.limits.max_logprobs;
  TopIds(x, n, static_cast<size_t>(wanted), top);
  for (int32_t i = 0; i < wanted; ++i) output->SetTop(row, static_cast<uint32_t>(i), top[i], logprob(top[i]));
  return true;
}

Status CpuBackend::Sample(Matrix logits, StepOutput* output) {
  std::atomic<uint32_t> bad_row{UINT32_MAX};
  pool_.Run(logits.rows, cancelled_, [&](size_t row, size_t thread) {
    if (!SampleRow(logits, static_cast<uint32_t>(row), thread, output))
      bad_row.store(static_cast<uint32_t>(row));
  });
  if (cancelled_.load(std::memory_order_relaxed)) return {Code::kAborted, "the step was aborted"};
  if (bad_row.load() != UINT32_MAX) {
    return {Code::kInternal, "the logits of row " + std::to_string(bad_row.load()) + " are not finite"};
  }
  return Status::Ok();
}

}  // namespace skein::cpu
