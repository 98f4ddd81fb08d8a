#include <algorithm>
#include <bit>
#include <utility>

#include "core/stored/formats.h"
#include "core/weight.h"

namespace skein::stored {
namespace {

uint64_t LastDim(const TensorSource& tensor) { return tensor.shape.size() < 2 ? 0 : tensor.shape.back(); }
uint64_t FirstDim(const TensorSource& tensor) { return tensor.shape.size() < 2 ? 0 : tensor.shape.front(); }

/// Columns of the tensors of a weight of which `taken` are wanted; 0 where they are no matrix.
uint64_t ColsOf(const PlainWeight& w, uint64_t) { return LastDim(w.tensor); }
uint64_t ColsOf(const GptqWeight& w, uint64_t) { return FirstDim(w.qweight) * (32 / w.bits); }
uint64_t ColsOf(const AwqWeight& w, uint64_t) { return FirstDim(w.qweight); }
uint64_t ColsOf(const PackedWeight& w, uint64_t taken) {
  // A row's last word may not be full.
  const uint64_t per_word = 32 / w.bits, words = LastDim(w.packed);
  return CeilDiv(taken, per_word) == words ? taken : words * per_word;
}
uint64_t ColsOf(const Int8Weight& w, uint64_t) { return LastDim(w.weight); }
uint64_t ColsOf(const Fp8Weight& w, uint64_t) { return LastDim(w.weight); }

uint64_t StoredCols(const WeightSource& weight) {
  return std::visit([&](const auto& w) { return ColsOf(w, weight.shape[1]); }, weight.stored);
}

/// Some columns of a matrix, whose rows are read whole.
class SlicedMatrix final : public StoredMatrix {
 public:
  SlicedMatrix(const WeightSource& weight, const RowFormat& format)
      : StoredMatrix(format), whole_(WholeOf(weight)), first_col_(weight.first_col) {}

  Status Init(bool wide_scales, SourceFiles* files) {
    RowFormat format;
    if (Status s = DescribeMatrix(whole_, wide_scales, &format); !s.ok()) return s;
    return OpenMatrix(whole_, format, files, &matrix_);
  }

  size_t block_rows() const override { return matrix_->block_rows(); }
  bool needs_wide_scales() const override { return matrix_->needs_wide_scales(); }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    RowBlock rows;
    if (Status s = matrix_->Read(first, count, &rows); !s.ok()) return s;
    out->Resize(format(), count);
    const size_t element = format().element_bytes(), group = matrix_->format().group;
    Cut(rows.elements, count, first_col_ * element, format().cols * element, &out->elements);
    const size_t first_group = group == 0 ? 0 : first_col_ / group, groups = format().groups();
    Cut(rows.scales, count, first_group, groups, &out->scales);
    if (format().zeros) Cut(rows.zeros, count, first_group, groups, &out->zeros);
    if (format().mins) Cut(rows.mins, count, first_group, groups, &out->mins);
    return Status::Ok();
  }

 private:
  /// Elements [first, first + width) of each row.
  template <typename T>
  static void Cut(const std::vector<T>& rows, size_t count, size_t first, size_t width, std::vector<T>* out) {
    const size_t stride = rows.size() / count;
    for (size_t r = 0; r < count; ++r)
      std::copy_n(rows.begin() + static_cast<long>(r * stride + first), width,
                  out->begin() + static_cast<long>(r * width));
  }

  const WeightSource whole_;
  const size_t first_col_;
  Matrix matrix_;
};

}  // namespace

bool TakesSomeColumns(const WeightSource& weight) {
  if (weight.shape.size() != 2) return false;
  const uint64_t cols = StoredCols(weight);
  return cols != 0 && (weight.first_col != 0 || weight.shape[1] < cols);
}

WeightSource WholeOf(const WeightSource& weight) {
  WeightSource whole = weight;
  whole.shape[1] = StoredCols(weight);
  whole.first_col = 0;
  return whole;
}

Status DescribeSlice(const WeightSource& weight, const RowFormat& whole, RowFormat* out) {
  const size_t cols = weight.shape[1], first = weight.first_col, sums = PartialSums(whole.cols);
  const std::string where =
      "columns " + std::to_string(first) + "+" + std::to_string(cols) + " of " + std::to_string(whole.cols);
  const size_t parts = cols == 0 ? 0 : whole.cols / cols;
  if (parts == 0 || whole.cols % cols != 0 || !std::has_single_bit(parts) || sums % parts != 0 ||
      first % cols != 0 || first >= whole.cols) {
    return WeightError(weight,
                       where + " are no half, quarter or eighth of whole partial sums, of which there are " +
                           std::to_string(sums));
  }
  if (whole.reordered) return WeightError(weight, where + " are taken, and they are reordered (g_idx)");
  if (whole.row_scaled_activations)
    return WeightError(weight, where + " are taken, and activations have one scale for all of them");
  *out = whole;
  out->cols = cols;
  out->partials = sums / parts;
  if (whole.group == whole.cols) {
    out->group = static_cast<uint32_t>(cols);
  } else if (whole.group != 0 && cols % whole.group != 0) {
    return WeightError(weight, where + " are not whole groups of " + std::to_string(whole.group));
  }
  return Status::Ok();
}

Status OpenSlice(const WeightSource& weight, const RowFormat& format, SourceFiles* files, Matrix* out) {
  auto matrix = std::make_unique<SlicedMatrix>(weight, format);
  Status status = matrix->Init(format.scale_dtype == Dtype::kF32, files);
  *out = std::move(matrix);
  return status;
}

}  // namespace skein::stored
