#include "core/stored/stored_matrix.h"

#include <cmath>

#include "core/stored/formats.h"
#include "core/weight.h"

namespace skein {
namespace stored {

Status CheckRows(const WeightSource& weight, uint64_t stored_rows) {
  if (weight.first_row <= stored_rows && weight.shape[0] <= stored_rows - weight.first_row)
    return Status::Ok();
  return WeightError(weight, "rows " + std::to_string(weight.first_row) + "+" +
                                 std::to_string(weight.shape[0]) + " are not within the " +
                                 std::to_string(stored_rows) + " that are stored");
}

Status CheckGroup(const WeightSource& weight, uint32_t group_size, uint32_t* group) {
  const uint64_t cols = weight.shape[1];
  *group = group_size == 0 ? static_cast<uint32_t>(cols) : group_size;
  if (*group > cols || cols % *group != 0 || (*group != cols && *group % 16 != 0)) {
    return WeightError(weight, "groups of " + std::to_string(*group) + " do not fit " + std::to_string(cols) +
                                   " columns; a group divides them and is a multiple of 16 or all of them");
  }
  return Status::Ok();
}

Status CheckScales(const WeightSource& weight, const TensorSource& scales, const std::vector<uint64_t>& shape,
                   RowFormat* out) {
  if (Status s =
          NeedTensor(weight, scales, {TensorDtype::kF32, TensorDtype::kF16, TensorDtype::kBF16}, shape);
      !s.ok())
    return s;
  out->scale_dtype = *FloatDtype(scales.dtype);
  return Status::Ok();
}

Status CheckFinite(const TensorSource& tensor, const std::vector<float>& scales) {
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i])) {
      return ContentError(tensor, "has a scale of " + std::to_string(scales[i]));
    }
  }
  return Status::Ok();
}

Status ReadScaleColumns(const StoredTensor& scales, size_t first, size_t count, RowBlock* out) {
  if (Status s = scales.ReadColumns(first, count, &out->factors); !s.ok()) return s;
  const size_t groups = scales.source().shape[0];
  std::vector<float> wide(groups * count);
  WidenFloats(out->factors.data(), *FloatDtype(scales.source().dtype), wide.size(), wide.data());
  for (size_t g = 0; g < groups; ++g)
    for (size_t r = 0; r < count; ++r) out->scales[r * groups + g] = wide[g * count + r];
  return CheckFinite(scales.source(), out->scales);
}

}  // namespace stored

Status DescribeMatrix(const WeightSource& weight, bool wide_scales, RowFormat* out) {
  *out = {};
  if (weight.shape.size() != 2 || weight.shape[0] == 0 || weight.shape[1] == 0 ||
      weight.shape[0] > UINT32_MAX || weight.shape[1] > UINT32_MAX)
    return WeightError(weight, "has an impossible shape");
  if (stored::TakesSomeColumns(weight)) {
    RowFormat whole;
    if (Status s = DescribeMatrix(stored::WholeOf(weight), wide_scales, &whole); !s.ok()) return s;
    return stored::DescribeSlice(weight, whole, out);
  }
  out->rows = weight.shape[0];
  out->cols = weight.shape[1];
  out->partials = PartialSums(out->cols);
  if (Status s = std::visit([&](const auto& w) { return stored::Describe(weight, w, out); }, weight.stored);
      !s.ok())
    return s;
  if (weight.quantize == WeightQuantization::kNone) return Status::Ok();
  const RowFormat floats = *out;
  return stored::DescribeQuantized(weight, floats, wide_scales, out);
}

Status OpenMatrix(const WeightSource& weight, const RowFormat& format, SourceFiles* files,
                  std::unique_ptr<StoredMatrix>* out) {
  if (stored::TakesSomeColumns(weight)) return stored::OpenSlice(weight, format, files, out);
  const auto open = [&](const RowFormat& stored_format, stored::Matrix* matrix) {
    return std::visit([&](const auto& w) { return stored::Open(weight, w, stored_format, files, matrix); },
                      weight.stored);
  };
  if (weight.quantize == WeightQuantization::kNone) return open(format, out);
  WeightSource as_stored = weight;
  as_stored.quantize = WeightQuantization::kNone;
  RowFormat floats;
  stored::Matrix matrix;
  if (Status s = DescribeMatrix(as_stored, false, &floats); !s.ok()) return s;
  if (Status s = open(floats, &matrix); !s.ok()) return s;
  *out = stored::OpenQuantized(weight, format, std::move(matrix));
  return Status::Ok();
}

}  // namespace skein
