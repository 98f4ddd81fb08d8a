#include <algorithm>

#include "core/stored/formats.h"

namespace skein::stored {
namespace {

class Int8Matrix final : public StoredMatrix {
 public:
  Int8Matrix(const WeightSource& weight, const RowFormat& format) : StoredMatrix(format), weight_(weight) {}

  Status Init(const Int8Weight& int8, SourceFiles* files) {
    if (Status s = files->Open(weight_, int8.weight, &codes_); !s.ok()) return s;
    if (Status s = files->Open(weight_, int8.scale, &scale_); !s.ok()) return s;
    return int8.zero_point ? files->Open(weight_, *int8.zero_point, &zero_point_) : Status::Ok();
  }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    first += weight_.first_row;
    const size_t cols = format().cols, groups = format().groups();
    if (Status s = codes_.Read(first * cols, count * cols, out->elements.data()); !s.ok()) return s;
    // One scale for the whole tensor is repeated.
    const bool one = groups == 1 && scale_.source().size_bytes == InfoOf(scale_.source().dtype).bytes;
    const size_t begin = one ? 0 : first * groups, factors = one ? 1 : count * groups;
    if (Status s = scale_.ReadFloats(begin, factors, out->scales.data(), &out->factors); !s.ok()) return s;
    std::fill(out->scales.begin() + static_cast<ptrdiff_t>(factors), out->scales.end(), out->scales[0]);
    if (Status s = CheckFinite(scale_.source(), out->scales); !s.ok()) return s;
    if (!format().zeros) return Status::Ok();
    if (Status s = zero_point_.Read(begin, factors, out->zeros.data()); !s.ok()) return s;
    std::fill(out->zeros.begin() + static_cast<ptrdiff_t>(factors), out->zeros.end(), out->zeros[0]);
    return Status::Ok();
  }

 private:
  const WeightSource& weight_;
  StoredTensor codes_, scale_, zero_point_;
};

}  // namespace

Status Describe(const WeightSource& weight, const Int8Weight& int8, RowFormat* out) {
  if (int8.weight.shape.size() != 2) return WeightError(weight, "the int8 tensor is no matrix");
  const uint64_t k = weight.shape[1], n = int8.weight.shape[0];
  out->bits = 8;
  out->zeros = int8.zero_point.has_value();
  out->row_scaled_activations = int8.row_scaled_activations;
  if (Status s = CheckRows(weight, n); !s.ok()) return s;
  if (Status s = CheckGroup(weight, int8.group_size, &out->group); !s.ok()) return s;
  const uint64_t groups = out->groups();
  if (Status s = NeedTensor(weight, int8.weight, {TensorDtype::kI8}, {n, k}); !s.ok()) return s;
  // Without groups a scale per row may be a vector, and one scale may serve all rows.
  std::vector<uint64_t> shape{n, groups};
  const std::vector<uint64_t>& given = int8.scale.shape;
  if (groups == 1 &&
      (given == std::vector<uint64_t>{n} || given == std::vector<uint64_t>{1} || given.empty()))
    shape = given;
  if (Status s = CheckScales(weight, int8.scale, shape, out); !s.ok()) return s;
  return int8.zero_point ? NeedTensor(weight, *int8.zero_point, {TensorDtype::kI8}, shape) : Status::Ok();
}

Status Open(const WeightSource& weight, const Int8Weight& int8, const RowFormat& format, SourceFiles* files,
            Matrix* out) {
  auto matrix = std::make_unique<Int8Matrix>(weight, format);
  Status status = matrix->Init(int8, files);
  *out = std::move(matrix);
  return status;
}

}  // namespace skein::stored
