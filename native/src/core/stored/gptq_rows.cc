#include <algorithm>

#include "core/stored/column_order.h"
#include "core/stored/formats.h"
#include "core/stored/packed_codes.h"

namespace skein::stored {
namespace {

/// Rows that are unpacked together, so that what is written stays in the first cache.
constexpr size_t kTileRows = 16;

class GptqMatrix final : public StoredMatrix {
 public:
  GptqMatrix(const WeightSource& weight, const RowFormat& format) : StoredMatrix(format), weight_(weight) {}

  Status Init(const GptqWeight& gptq, SourceFiles* files) {
    bits_ = gptq.bits;
    zero_offset_ = gptq.zero_offset;
    if (Status s = files->Open(weight_, gptq.qweight, &qweight_); !s.ok()) return s;
    if (Status s = files->Open(weight_, gptq.qzeros, &qzeros_); !s.ok()) return s;
    if (Status s = files->Open(weight_, gptq.scales, &scales_); !s.ok()) return s;
    if (!gptq.g_idx) return Status::Ok();
    StoredTensor g_idx;
    if (Status s = files->Open(weight_, *gptq.g_idx, &g_idx); !s.ok()) return s;
    return ReadColumnOrder(g_idx, format(), &column_order_);
  }

  /// A row is a column of the tensors: a wide run of them makes fewer reads.
  size_t block_rows() const override { return 512; }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    first += weight_.first_row;
    if (Status s = qweight_.ReadColumns(first, count, &out->stored); !s.ok()) return s;
    Unpack(count, out);
    ReorderColumns(column_order_, count, out);
    if (Status s = ReadZeros(first, count, out); !s.ok()) return s;
    return ReadScaleColumns(scales_, first, count, out);
  }

 private:
  void Unpack(size_t count, RowBlock* out) const {
    const size_t cols = format().cols, per_word = 32 / bits_, words = cols / per_word;
    for (size_t tile = 0; tile < count; tile += kTileRows) {
      const size_t end = std::min(count, tile + kTileRows);
      for (size_t w = 0; w < words; ++w) {
        for (size_t r = tile; r < end; ++r) {
          const uint32_t word = WordAt(out->stored.data(), w * count + r);
          uint8_t* to = out->elements.data() + r * cols + w * per_word;
          if (bits_ == 4) {
            const uint64_t codes = SpreadNibbles(word);
            std::memcpy(to, &codes, 8);
          } else {
            const uint32_t codes = SignBytes(word);
            std::memcpy(to, &codes, 4);
          }
        }
      }
    }
  }

  Status ReadZeros(size_t first, size_t count, RowBlock* out) const {
    const size_t per_word = 32 / bits_, groups = format().groups();
    const size_t begin = first / per_word, words = CeilDiv(first + count, per_word) - begin;
    if (Status s = qzeros_.ReadColumns(begin, words, &out->factors); !s.ok()) return s;
    for (size_t g = 0; g < groups; ++g) {
      for (size_t r = 0; r < count; ++r) {
        const uint32_t stored =
            PackedCode(out->factors.data() + g * words * 4, first + r - begin * per_word, bits_);
        const int32_t zero = static_cast<int32_t>(stored + zero_offset_) - (bits_ == 8 ? 128 : 0);
        if (zero > 127) {
          return ContentError(qzeros_.source(), "group " + std::to_string(g) + " of row " +
                                                    std::to_string(first + r) + " has zero point " +
                                                    std::to_string(stored + zero_offset_) + ", beyond 255");
        }
        out->zeros[r * groups + g] = static_cast<int8_t>(zero);
      }
    }
    return Status::Ok();
  }

  const WeightSource& weight_;
  uint32_t bits_ = 4, zero_offset_ = 0;
  StoredTensor qweight_, qzeros_, scales_;
};

}  // namespace

Status Describe(const WeightSource& weight, const GptqWeight& gptq, RowFormat* out) {
  if (gptq.qweight.shape.size() != 2) return WeightError(weight, "qweight is no matrix");
  const uint64_t k = weight.shape[1], n = gptq.qweight.shape[1], per_word = 32 / gptq.bits;
  if (k % per_word != 0 || n % per_word != 0) {
    return WeightError(weight, std::to_string(n) + " x " + std::to_string(k) + " codes of " +
                                   std::to_string(gptq.bits) + " bits do not fill words");
  }
  out->bits = gptq.bits;
  out->zeros = true;
  if (Status s = CheckRows(weight, n); !s.ok()) return s;
  if (Status s = CheckGroup(weight, gptq.group_size, &out->group); !s.ok()) return s;
  const uint64_t groups = out->groups();
  if (Status s = NeedTensor(weight, gptq.qweight, {TensorDtype::kI32}, {k / per_word, n}); !s.ok()) return s;
  if (Status s = NeedTensor(weight, gptq.qzeros, {TensorDtype::kI32}, {groups, n / per_word}); !s.ok())
    return s;
  if (Status s = CheckScales(weight, gptq.scales, {groups, n}, out); !s.ok()) return s;
  out->reordered = gptq.g_idx.has_value();
  return gptq.g_idx ? NeedTensor(weight, *gptq.g_idx, {TensorDtype::kI32}, {k}) : Status::Ok();
}

Status Open(const WeightSource& weight, const GptqWeight& gptq, const RowFormat& format, SourceFiles* files,
            Matrix* out) {
  auto matrix = std::make_unique<GptqMatrix>(weight, format);
  Status status = matrix->Init(gptq, files);
  *out = std::move(matrix);
  return status;
}

}  // namespace skein::stored
