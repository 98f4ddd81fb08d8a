#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "core/stored/formats.h"
#include "core/stored/quantize_weight.h"

namespace skein::stored {
namespace {

class QuantizedMatrix final : public StoredMatrix {
 public:
  QuantizedMatrix(const WeightSource& weight, const RowFormat& format, Matrix floats)
      : StoredMatrix(format), weight_(weight), floats_(std::move(floats)) {}

  bool needs_wide_scales() const override { return needs_wide_.load(std::memory_order_relaxed); }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    RowBlock stored;
    std::swap(stored.elements, out->stored);
    if (Status s = floats_->Read(first, count, &stored); !s.ok()) return s;
    out->Resize(format(), count);
    const size_t cols = format().cols, groups = format().groups();
    std::vector<float> row(cols);
    for (size_t r = 0; r < count; ++r) {
      DequantizeRow(floats_->format(), stored, r, {}, row.data());
      if (!AllFinite(row.data(), cols)) {
        const auto wrong =
            std::find_if(row.begin(), row.end(), [](float value) { return !std::isfinite(value); });
        return ContentError(std::get<PlainWeight>(weight_.stored).tensor,
                            "row " + std::to_string(weight_.first_row + first + r) + ", column " +
                                std::to_string(wrong - row.begin()) + " is " + std::to_string(*wrong));
      }
      for (size_t g = 0; g < groups; ++g) {
        const size_t begin = g * format().group, size = std::min<size_t>(format().group, cols - begin);
        out->scales[r * groups + g] =
            Quantize(row.data() + begin, size, out->elements.data() + r * cols + begin);
      }
    }
    std::swap(stored.elements, out->stored);
    return Status::Ok();
  }

 private:
  float Quantize(const float* values, size_t count, uint8_t* codes) const {
    const bool wide = format().scale_dtype == Dtype::kF32;
    float scale;
    switch (format().bits) {
      case 0:
        return QuantizeFp8(values, count, codes);
      case 4:
        scale = QuantizeInt4(values, count, wide, codes);
        break;
      default:
        scale = QuantizeInt8(values, count, wide, codes);
    }
    if (!wide && (NeedsWideScale(scale) || (scale == 0 && HasNonzero(values, count))))
      needs_wide_.store(true, std::memory_order_relaxed);
    return scale;
  }

  static bool HasNonzero(const float* values, size_t count) {
    return std::any_of(values, values + count, [](float v) { return v != 0; });
  }

  const WeightSource& weight_;
  Matrix floats_;
  mutable std::atomic<bool> needs_wide_{false};
};

}  // namespace

Status DescribeQuantized(const WeightSource& weight, const RowFormat& floats, bool wide_scales,
                         RowFormat* out) {
  if (floats.bits != 0 || floats.group != 0) return WeightError(weight, "is quantized already");
  RowFormat format{.rows = floats.rows, .cols = floats.cols, .partials = floats.partials};
  switch (weight.quantize) {
    case WeightQuantization::kInt8:
      format.bits = 8, format.group = 128;
      break;
    case WeightQuantization::kInt4:
      format.bits = 4, format.group = 32;
      break;
    case WeightQuantization::kInt4G128:
      format.bits = 4, format.group = 128;
      break;
    case WeightQuantization::kFp8:
      format.dtype = Dtype::kF8E4M3, format.group = static_cast<uint32_t>(floats.cols);
      break;
    case WeightQuantization::kNone:
      break;
  }
  if (format.bits != 0) format.scale_dtype = wide_scales ? Dtype::kF32 : Dtype::kF16;
  *out = format;
  return Status::Ok();
}

Matrix OpenQuantized(const WeightSource& weight, const RowFormat& format, Matrix floats) {
  return std::make_unique<QuantizedMatrix>(weight, format, std::move(floats));
}

}  // namespace skein::stored
