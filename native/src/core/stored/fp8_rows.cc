#include <algorithm>

#include "core/stored/formats.h"

namespace skein::stored {
namespace {

class Fp8Matrix final : public StoredMatrix {
 public:
  Fp8Matrix(const WeightSource& weight, const RowFormat& format, uint32_t block_rows)
      : StoredMatrix(format), weight_(weight), scale_rows_(block_rows) {}

  Status Init(const Fp8Weight& fp8, SourceFiles* files) {
    if (Status s = files->Open(weight_, fp8.weight, &codes_); !s.ok()) return s;
    return files->Open(weight_, fp8.scale, &scale_);
  }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    first += weight_.first_row;
    const size_t cols = format().cols, groups = format().groups();
    if (Status s = codes_.Read(first * cols, count * cols, out->elements.data()); !s.ok()) return s;
    const auto is_nan = [](uint8_t code) { return (code & 0x7f) == 0x7f; };
    const auto nan = std::find_if(out->elements.begin(), out->elements.end(), is_nan);
    if (nan != out->elements.end()) {
      const auto at = static_cast<size_t>(nan - out->elements.begin());
      return ContentError(codes_.source(), "row " + std::to_string(first + at / cols) + ", column " +
                                               std::to_string(at % cols) + " is NaN");
    }
    const size_t begin = first / scale_rows_, rows = CeilDiv(first + count, scale_rows_) - begin;
    std::vector<float> scales(rows * groups);
    if (Status s = scale_.ReadFloats(begin * groups, scales.size(), scales.data(), &out->factors); !s.ok())
      return s;
    for (size_t r = 0; r < count; ++r) {
      const float* from = scales.data() + ((first + r) / scale_rows_ - begin) * groups;
      std::copy(from, from + groups, out->scales.begin() + static_cast<ptrdiff_t>(r * groups));
    }
    return CheckFinite(scale_.source(), out->scales);
  }

 private:
  const WeightSource& weight_;
  StoredTensor codes_, scale_;
  /// Rows that share a scale.
  size_t scale_rows_;
};

}  // namespace

Status Describe(const WeightSource& weight, const Fp8Weight& fp8, RowFormat* out) {
  if (fp8.weight.shape.size() != 2) return WeightError(weight, "the fp8 tensor is no matrix");
  const uint64_t k = weight.shape[1], n = fp8.weight.shape[0];
  out->dtype = Dtype::kF8E4M3;
  if (Status s = CheckRows(weight, n); !s.ok()) return s;
  if (Status s = NeedTensor(weight, fp8.weight, {TensorDtype::kF8E4M3}, {n, k}); !s.ok()) return s;
  const bool blocks = fp8.block_rows != 0;
  out->group = static_cast<uint32_t>(blocks && fp8.block_cols < k ? fp8.block_cols : k);
  std::vector<uint64_t> shape = fp8.scale.shape;
  if (blocks) {
    shape = {CeilDiv(n, fp8.block_rows), CeilDiv(k, fp8.block_cols)};
  } else if (shape != std::vector<uint64_t>{n} && shape != std::vector<uint64_t>{1} && !shape.empty()) {
    shape = {n, 1};
  }
  if (Status s = CheckScales(weight, fp8.scale, shape, out); !s.ok()) return s;
  // The kernels of float panels take scales of f32.
  out->scale_dtype = Dtype::kF32;
  return Status::Ok();
}

Status Open(const WeightSource& weight, const Fp8Weight& fp8, const RowFormat& format, SourceFiles* files,
            Matrix* out) {
  const bool one = fp8.block_rows == 0 && (fp8.scale.shape.empty() || fp8.scale.shape[0] == 1);
  const uint64_t scale_rows = fp8.block_rows != 0 ? fp8.block_rows : one ? fp8.weight.shape[0] : 1;
  auto matrix = std::make_unique<Fp8Matrix>(weight, format, static_cast<uint32_t>(scale_rows));
  Status status = matrix->Init(fp8, files);
  *out = std::move(matrix);
  return status;
}

}  // namespace skein::stored
