#pragma once

#include <atomic>
#include <memory>
#include <random>
#include <vector>

#include "core/backend.h"
#include "cpu/elementwise.h"
#include "cpu/float_panels.h"
#include "tiny_model.h"

/// A CPU backend made for given ops and weight shapes, so that single operations can be called with matrices
/// of a test's own.
namespace skein::test {

class OpBackend {
 public:
  explicit OpBackend(uint32_t max_tokens, size_t threads = 2) : threads_(threads) {
    spec_.vocab_size = 4;
    spec_.limits = {max_tokens, 8, 8, 4096, 0, 0};
    spec_.kv_cache = {1, 16, KVCacheDtype::kF32, {}};
  }
  ProgramSpec& spec() { return spec_; }
  /// A token value that ops may read.
  int64_t Value(uint32_t width) {
    Op op{.kind = OpKind::kRecv, .out = next_++, .width = width, .peer = "test"};
    spec_.ops.push_back(op);
    return op.out;
  }
  int64_t Weight(std::vector<uint64_t> shape, Dtype dtype) {
    uint64_t bytes = DtypeBytes(dtype);
    for (const uint64_t n : shape) bytes *= n;
    spec_.weights.push_back(PlainSource(
        {"w" + std::to_string(spec_.weights.size()), "", 0, bytes, TensorDtypeOf(dtype), std::move(shape)}));
    return static_cast<int64_t>(spec_.weights.size()) - 1;
  }
  int64_t Add(Op op) {
    op.out = next_++;
    spec_.ops.push_back(op);
    return op.out;
  }
  /// Checks the ops and makes the backend; call once, last.
  Backend& Start() {
    CHECK_OK(cpu::CpuDevice::Create(threads_, &device_));
    CHECK_OK(Program::Create(spec_, &program_));
    CHECK_OK(device_->CreateBackend(program_, cancelled_, &backend_));
    return *backend_;
  }

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

  RandomWeight(size_t r, size_t c, Dtype type, std::mt19937& random, float deviation = 1)
      : dtype(type), rows(r), cols(c), data(r * c * DtypeBytes(type)), wide(r * c) {
    std::normal_distribution<float> normal(0, deviation);
    for (size_t i = 0; i < wide.size(); ++i) {
      const float value = normal(random);
      cpu::NarrowRow(&value, dtype, 1, &data[i * DtypeBytes(dtype)]);
    }
    cpu::WidenRow(data.data(), dtype, wide.size(), wide.data());
    packed.resize(cpu::FloatPanelBytes(dtype, rows, cols));
    cpu::PackFloatRows(data.data(), dtype, rows, cols, 0, packed.data());
  }
  WeightView row_view() const { return {.data = data.data(), .dtype = dtype, .rows = rows, .cols = cols}; }
  WeightView panel_view() const {
    return {.data = packed.data(),
            .dtype = dtype,
            .rows = rows,
            .cols = cols,
            .layout = WeightLayout::kFloatPanels,
            .partials = static_cast<uint32_t>(PartialSums(cols))};
  }
  const float* row(size_t r) const { return &wide[r * cols]; }
};

/// f32 [rows, width] with some padding after each row.
struct TestMatrix {
  size_t rows, width, stride;
  std::vector<float> data;
  TestMatrix(size_t r, size_t w) : rows(r), width(w), stride(w + 3), data(r * stride, NAN) {}
  TestMatrix(size_t r, size_t w, std::mt19937& random) : TestMatrix(r, w) {
    std::normal_distribution<float> normal;
    for (float& x : data) x = normal(random);
  }
  /// Rows [begin, end).
  Matrix view(size_t begin, size_t end) { return {data.data() + begin * stride, end - begin, width, stride}; }
  Matrix view() { return view(0, rows); }
  const float* row(size_t r) const { return &data[r * stride]; }
  float* row(size_t r) { return &data[r * stride]; }
};

inline bool SameRow(const TestMatrix& a, size_t row, const TestMatrix& b, size_t other) {
  return std::memcmp(a.row(row), b.row(other), a.width * sizeof(float)) == 0;
}

}  // namespace skein::test
