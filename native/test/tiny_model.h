#pragma once

#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "core/dtype.h"
#include "core/program_spec.h"
#include "core/runner.h"

/// A two-layer model with random weights in a temporary file, and packed step inputs for it.
namespace skein::test {

TensorDtype TensorDtypeOf(Dtype dtype);
uint16_t Narrow(Dtype dtype, float v);

struct TinyShape {
  uint32_t vocab = 97, hidden = 60, inter = 76, heads = 6, kv_heads = 2, head_dim = 20, rotary = 20;
  Dtype weights = Dtype::kBF16;
  KVCacheDtype cache = KVCacheDtype::kBF16;
  uint32_t block_size = 16, num_blocks = 128, max_len = 1200;
  /// Above 0: a mixture, 3 of them a token, in place of the gated layer.
  uint32_t experts = 0;
};

/// A runner of `spec` with its weights loaded.
std::unique_ptr<Runner> StartRunner(const ProgramSpec& spec, size_t threads);

class TinyModel {
 public:
  explicit TinyModel(const TinyShape& shape);
  ~TinyModel();
  ProgramSpec spec;

  std::unique_ptr<Runner> Start(size_t threads) const { return StartRunner(spec, threads); }

 private:
  int64_t Weight(std::vector<uint64_t> shape);
  int64_t Add(Op op);
  int64_t Linear(int64_t x, uint64_t n, uint64_t k);
  int64_t Norm(int64_t x);
  int64_t Mixture(int64_t x);
  int64_t Rope(int64_t x, uint32_t heads);
  void Build();

  TinyShape shape_;
  std::string path_ = "/tmp/skein-tiny-XXXXXX";
  FILE* file_ = nullptr;
  uint64_t size_ = 0;
  int64_t next_ = 0;
  std::mt19937 random_{1};
};

struct Sequence {
  std::vector<int32_t> tokens;
  int32_t computed = 0;
  std::vector<int32_t> blocks;
};
struct Row {
  int32_t token = 0, target = -1, slot = -1;
  float temperature = 0;
  int32_t num_logprobs = -1;
  int32_t ruled = 0;
  int32_t top_k = 0;
  float top_p = 1;
  /// Of the request's outputs; below 0, `token` stands for it.
  int32_t position = -1;
};

/// `rules`: records of logit rules, packed.
std::vector<int32_t> Pack(const std::vector<Sequence>& sequences, const std::vector<Row>& rows,
                          const std::vector<std::vector<int32_t>>& rules = {});

Status RunStep(Runner& runner, std::vector<int32_t> words, std::vector<int32_t>* output = nullptr);

std::vector<float> Logits(Runner& runner, std::vector<int32_t> words);

}  // namespace skein::test
