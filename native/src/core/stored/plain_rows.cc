#include <utility>

#include "core/stored/formats.h"

namespace skein::stored {
namespace {

class PlainMatrix final : public StoredMatrix {
 public:
  PlainMatrix(const WeightSource& weight, const RowFormat& format, StoredTensor tensor)
      : StoredMatrix(format), weight_(weight), tensor_(std::move(tensor)) {}

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    const size_t row_bytes = format().cols * format().element_bytes();
    return tensor_.Read((weight_.first_row + first) * row_bytes, count * row_bytes, out->elements.data());
  }

 private:
  const WeightSource& weight_;
  StoredTensor tensor_;
};

}  // namespace

Status Describe(const WeightSource& weight, const PlainWeight& plain, RowFormat* out) {
  const TensorSource& tensor = plain.tensor;
  if (Status s = CheckSize(weight, tensor); !s.ok()) return s;
  // Of more than two dimensions, as the experts of one tensor, the leading ones count rows.
  uint64_t stored_rows = 1;
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) stored_rows *= tensor.shape[i];
  if (tensor.shape.size() < 2 || tensor.shape.back() != weight.shape[1]) {
    return WeightError(weight, "its " + std::to_string(weight.shape[1]) +
                                   " columns are not those of tensor '" + tensor.name + "', which has " +
                                   (tensor.shape.size() < 2 ? "none" : std::to_string(tensor.shape.back())));
  }
  if (Status s = CheckRows(weight, stored_rows); !s.ok()) return s;
  if (InfoOf(tensor.dtype).values > 1) {
    DescribeGgml(tensor.dtype, out);
    return Status::Ok();
  }
  const std::optional<Dtype> dtype = FloatDtype(tensor.dtype);
  if (!dtype) {
    return WeightError(
        weight, "tensor '" + tensor.name + "' holds " + InfoOf(tensor.dtype).name + " and has no scales");
  }
  out->dtype = *dtype;
  return Status::Ok();
}

Status Open(const WeightSource& weight, const PlainWeight& plain, const RowFormat& format, SourceFiles* files,
            Matrix* out) {
  StoredTensor tensor;
  if (Status s = files->Open(weight, plain.tensor, &tensor); !s.ok()) return s;
  if (format.bits != 0) {
    *out = OpenGgml(weight, format, std::move(tensor));
  } else {
    *out = std::make_unique<PlainMatrix>(weight, format, std::move(tensor));
  }
  return Status::Ok();
}

}  // namespace skein::stored
