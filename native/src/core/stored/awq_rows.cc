#include <utility>

#include "core/stored/formats.h"
#include "core/stored/packed_codes.h"

namespace skein::stored {
namespace {

/// Eight columns of n in a word, the even ones in its low half.
constexpr size_t kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};

class AwqMatrix final : public StoredMatrix {
 public:
  AwqMatrix(const WeightSource& weight, const RowFormat& format) : StoredMatrix(format), weight_(weight) {}

  Status Init(const AwqWeight& awq, SourceFiles* files) {
    if (Status s = files->Open(weight_, awq.qweight, &qweight_); !s.ok()) return s;
    if (Status s = files->Open(weight_, awq.qzeros, &qzeros_); !s.ok()) return s;
    return files->Open(weight_, awq.scales, &scales_);
  }

  size_t block_rows() const override { return 512; }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    first += weight_.first_row;
    const auto unpack = [&](const StoredTensor& tensor, uint8_t* to, size_t to_cols) {
      const size_t begin = first / 8, words = CeilDiv(first + count, 8) - begin;
      if (Status s = tensor.ReadColumns(begin, words, &out->stored); !s.ok()) return s;
      for (size_t w = 0; w < words; ++w) {
        for (size_t k = 0; k < to_cols; ++k) {
          const uint32_t word = WordAt(out->stored.data(), k * words + w);
          for (size_t i = 0; i < 8; ++i) {
            const size_t row = (begin + w) * 8 + kAwqOrder[i] - first;
            if (row < count) to[row * to_cols + k] = word >> (4 * i) & 15;
          }
        }
      }
      return Status::Ok();
    };
    if (Status s = unpack(qweight_, out->elements.data(), format().cols); !s.ok()) return s;
    if (Status s = unpack(qzeros_, reinterpret_cast<uint8_t*>(out->zeros.data()), format().groups()); !s.ok())
      return s;
    return ReadScaleColumns(scales_, first, count, out);
  }

 private:
  const WeightSource& weight_;
  StoredTensor qweight_, qzeros_, scales_;
};

}  // namespace

Status Describe(const WeightSource& weight, const AwqWeight& awq, RowFormat* out) {
  if (awq.qweight.shape.size() != 2) return WeightError(weight, "qweight is no matrix");
  const uint64_t k = weight.shape[1], words = awq.qweight.shape[1];
  out->bits = 4;
  out->zeros = true;
  if (Status s = CheckRows(weight, words * 8); !s.ok()) return s;
  if (Status s = CheckGroup(weight, awq.group_size, &out->group); !s.ok()) return s;
  const uint64_t groups = out->groups();
  if (Status s = NeedTensor(weight, awq.qweight, {TensorDtype::kI32}, {k, words}); !s.ok()) return s;
  if (Status s = NeedTensor(weight, awq.qzeros, {TensorDtype::kI32}, {groups, words}); !s.ok()) return s;
  return CheckScales(weight, awq.scales, {groups, words * 8}, out);
}

Status Open(const WeightSource& weight, const AwqWeight& awq, const RowFormat& format, SourceFiles* files,
            Matrix* out) {
  auto matrix = std::make_unique<AwqMatrix>(weight, format);
  Status status = matrix->Init(awq, files);
  *out = std::move(matrix);
  return status;
}

}  // namespace skein::stored
