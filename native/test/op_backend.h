#pragma once

#include <atomic>
#include <memory>
#include <random>
#include <vector>

#include "core/backend.h"
#include "cpu/cpu_device.h"
#include "tiny_model.h"

/// A CPU backend made for given ops and weight shapes, so that single operations can be called with matrices
/// of a test's own.
namespace skein::test {

class OpBackend {
 public:
  explicit OpBackend(uint32_t max_tokens, size_t threads = 2);
  ProgramSpec& spec() { return spec_; }
  /// A token value that ops may read.
  int64_t Value(uint32_t width);
  int64_t Weight(std::vector<uint64_t> shape, Dtype dtype);
  int64_t Add(Op op);
  /// Checks the ops and makes the backend; call once, last.
  Backend& Start();

 private:
  size_t threads_;
  ProgramSpec spec_;
  int64_t next_ = 0;
  std::atomic<bool> cancelled_{false};
  std::shared_ptr<cpu::CpuDevice> device_;
  Program program_;
  std::unique_ptr<Backend> backend_;
};

/// Random numbers in a storage type, with the f32 values they stand for, as rows and packed for the
/// instruction level at hand.
struct RandomWeight {
  Dtype dtype;
  size_t rows, cols;
  std::vector<std::byte> data, packed;  // exactly sized, so that the sanitizer sees a read past its end
  std::vector<float> wide;

  RandomWeight(size_t r, size_t c, Dtype type, std::mt19937& random, float deviation = 1);
  WeightView row_view() const;
  WeightView panel_view() const;
  const float* row(size_t r) const { return &wide[r * cols]; }
};

/// f32 [rows, width] with some padding after each row.
struct TestMatrix {
  size_t rows, width, stride;
  std::vector<float> data;
  TestMatrix(size_t r, size_t w);
  TestMatrix(size_t r, size_t w, std::mt19937& random);
  /// Rows [begin, end).
  Matrix view(size_t begin, size_t end) { return {data.data() + begin * stride, end - begin, width, stride}; }
  Matrix view() { return view(0, rows); }
  const float* row(size_t r) const { return &data[r * stride]; }
  float* row(size_t r) { return &data[r * stride]; }
};

bool SameRow(const TestMatrix& a, size_t row, const TestMatrix& b, size_t other);

}  // namespace skein::test
