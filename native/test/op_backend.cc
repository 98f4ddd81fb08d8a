#include "op_backend.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "cpu/elementwise.h"
#include "cpu/float_panels.h"

namespace skein::test {

OpBackend::OpBackend(uint32_t max_tokens, size_t threads) : threads_(threads) {
  spec_.vocab_size = 4;
  spec_.limits = {max_tokens, 8, 8, 4096, 0, 0};
  spec_.kv_cache = {1, 16, KVCacheDtype::kF32, {}};
}

int64_t OpBackend::Value(uint32_t width) {
  Op op{.kind = OpKind::kRecv, .out = next_++, .width = width, .peer = "test"};
  spec_.ops.push_back(op);
  return op.out;
}

int64_t OpBackend::Weight(std::vector<uint64_t> shape, Dtype dtype) {
  uint64_t bytes = DtypeBytes(dtype);
  for (const uint64_t n : shape) bytes *= n;
  spec_.weights.push_back(PlainSource(
      {"w" + std::to_string(spec_.weights.size()), "", 0, bytes, TensorDtypeOf(dtype), std::move(shape)}));
  return static_cast<int64_t>(spec_.weights.size()) - 1;
}

int64_t OpBackend::Add(Op op) {
  op.out = next_++;
  spec_.ops.push_back(op);
  return op.out;
}

Backend& OpBackend::Start() {
  CHECK_OK(cpu::CpuDevice::Create(threads_, &device_));
  CHECK_OK(Program::Create(spec_, &program_));
  CHECK_OK(device_->CreateBackend(program_, cancelled_, &backend_));
  return *backend_;
}

RandomWeight::RandomWeight(size_t r, size_t c, Dtype type, std::mt19937& random, float deviation)
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

WeightView RandomWeight::row_view() const {
  return {.data = data.data(), .dtype = dtype, .rows = rows, .cols = cols};
}

WeightView RandomWeight::panel_view() const {
  return {.data = packed.data(),
          .dtype = dtype,
          .rows = rows,
          .cols = cols,
          .layout = WeightLayout::kFloatPanels,
          .partials = static_cast<uint32_t>(PartialSums(cols))};
}

TestMatrix::TestMatrix(size_t r, size_t w) : rows(r), width(w), stride(w + 3), data(r * stride, NAN) {}

TestMatrix::TestMatrix(size_t r, size_t w, std::mt19937& random) : TestMatrix(r, w) {
  std::normal_distribution<float> normal;
  for (float& x : data) x = normal(random);
}

bool SameRow(const TestMatrix& a, size_t row, const TestMatrix& b, size_t other) {
  return std::memcmp(a.row(row), b.row(other), a.width * sizeof(float)) == 0;
}

}  // namespace skein::test
