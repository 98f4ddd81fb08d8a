#include "core/stored/column_order.h"
#include "core/stored/formats.h"
#include "core/stored/packed_codes.h"

namespace skein::stored {
namespace {

class PackedMatrix final : public StoredMatrix {
 public:
  PackedMatrix(const WeightSource& weight, const RowFormat& format) : StoredMatrix(format), weight_(weight) {}

  Status Init(const PackedWeight& packed, SourceFiles* files) {
    if (Status s = files->Open(weight_, packed.packed, &packed_); !s.ok()) return s;
    if (Status s = files->Open(weight_, packed.scale, &scale_); !s.ok()) return s;
    if (packed.zero_point) {
      if (Status s = files->Open(weight_, *packed.zero_point, &zero_point_); !s.ok()) return s;
    }
    if (!packed.g_idx) return Status::Ok();
    StoredTensor g_idx;
    if (Status s = files->Open(weight_, *packed.g_idx, &g_idx); !s.ok()) return s;
    return ReadColumnOrder(g_idx, format(), &column_order_);
  }

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    first += weight_.first_row;
    const size_t cols = format().cols, groups = format().groups(), words = packed_.source().shape[1];
    out->stored.resize(count * words * 4);
    if (Status s = packed_.Read(first * words * 4, out->stored.size(), out->stored.data()); !s.ok()) return s;
    for (size_t r = 0; r < count; ++r) {
      uint8_t* to = out->elements.data() + r * cols;
      const uint8_t* from = out->stored.data() + r * words * 4;
      size_t c = 0;
      if (bits() == 4) {
        for (; c + 8 <= cols; c += 8) {
          const uint64_t codes = SpreadNibbles(WordAt(from, c / 8));
          std::memcpy(to + c, &codes, 8);
        }
      }
      for (; c < cols; ++c) to[c] = Signed(PackedCode(from, c, bits()));
    }
    ReorderColumns(column_order_, count, out);
    if (Status s = scale_.ReadFloats(first * groups, count * groups, out->scales.data(), &out->factors);
        !s.ok())
      return s;
    if (Status s = CheckFinite(scale_.source(), out->scales); !s.ok()) return s;
    return format().zeros ? ReadZeros(first, count, out) : Status::Ok();
  }

 private:
  uint32_t bits() const { return format().bits; }
  uint8_t Signed(uint32_t code) const { return static_cast<uint8_t>(bits() == 8 ? code ^ 0x80u : code); }

  /// Packed along the rows.
  Status ReadZeros(size_t first, size_t count, RowBlock* out) const {
    const size_t groups = format().groups(), per_word = 32 / bits();
    const size_t begin = first / per_word, words = CeilDiv(first + count, per_word) - begin;
    out->stored.resize(words * groups * 4);
    if (Status s = zero_point_.Read(begin * groups * 4, out->stored.size(), out->stored.data()); !s.ok())
      return s;
    for (size_t r = 0; r < count; ++r) {
      const size_t at = first + r - begin * per_word;
      for (size_t g = 0; g < groups; ++g) {
        const uint32_t word = WordAt(out->stored.data(), at / per_word * groups + g);
        const uint32_t code = word >> (at % per_word * bits()) & ((1u << bits()) - 1);
        out->zeros[r * groups + g] = static_cast<int8_t>(Signed(code));
      }
    }
    return Status::Ok();
  }

  const WeightSource& weight_;
  StoredTensor packed_, scale_, zero_point_;
};

}  // namespace

Status Describe(const WeightSource& weight, const PackedWeight& packed, RowFormat* out) {
  if (packed.packed.shape.size() != 2) return WeightError(weight, "the packed tensor is no matrix");
  const uint64_t k = weight.shape[1], n = packed.packed.shape[0], per_word = 32 / packed.bits;
  out->bits = packed.bits;
  out->zeros = packed.zero_point.has_value();
  out->reordered = packed.g_idx.has_value();
  if (Status s = CheckRows(weight, n); !s.ok()) return s;
  if (Status s = CheckGroup(weight, packed.group_size, &out->group); !s.ok()) return s;
  const uint64_t groups = out->groups();
  if (Status s = NeedTensor(weight, packed.packed, {TensorDtype::kI32}, {n, CeilDiv(k, per_word)}); !s.ok())
    return s;
  const bool vector = groups == 1 && packed.scale.shape.size() == 1;
  if (Status s = CheckScales(weight, packed.scale,
                             vector ? std::vector<uint64_t>{n} : std::vector<uint64_t>{n, groups}, out);
      !s.ok())
    return s;
  if (packed.zero_point) {
    if (Status s =
            NeedTensor(weight, *packed.zero_point, {TensorDtype::kI32}, {CeilDiv(n, per_word), groups});
        !s.ok())
      return s;
  }
  return packed.g_idx ? NeedTensor(weight, *packed.g_idx, {TensorDtype::kI32}, {k}) : Status::Ok();
}

Status Open(const WeightSource& weight, const PackedWeight& packed, const RowFormat& format,
            SourceFiles* files, Matrix* out) {
  auto matrix = std::make_unique<PackedMatrix>(weight, format);
  Status status = matrix->Init(packed, files);
  *out = std::move(matrix);
  return status;
}

}  // namespace skein::stored
