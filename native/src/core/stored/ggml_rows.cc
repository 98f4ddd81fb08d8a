#include <cmath>
#include <cstring>
#include <utility>

#include "core/float_bits.h"
#include "core/stored/formats.h"
#include "core/stored/packed_codes.h"

/// ggml's blocks. Of 32 values: a scale, a min in q4_1, then codes. Of 256: 6-bit scales and mins of groups
/// of 32 (q4_k, q5_k) or 8-bit scales of groups of 16 (q6_k), which a scale of the block multiplies.
namespace skein::stored {
namespace {

/// Where one block's parts go.
struct BlockOut {
  uint8_t* codes;
  float* scales;
  float* mins;
};

float HalfAt(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, 2);
  return FloatFromF16(bits);
}

/// Low nibbles of `count` bytes, then their high ones.
void SplitNibbles(const uint8_t* from, size_t count, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) to[i] = from[i] & 15, to[count + i] = from[i] >> 4;
}

void ReadQ8_0(const uint8_t* block, BlockOut out) {
  out.scales[0] = HalfAt(block);
  std::memcpy(out.codes, block + 2, 32);
}

void ReadQ4_0(const uint8_t* block, BlockOut out) {
  out.scales[0] = HalfAt(block);
  SplitNibbles(block + 2, 16, out.codes);
}

void ReadQ4_1(const uint8_t* block, BlockOut out) {
  out.scales[0] = HalfAt(block);
  out.mins[0] = HalfAt(block + 2);
  SplitNibbles(block + 4, 16, out.codes);
}

/// d, dmin, then 12 bytes: the low 6 bits of the first eight are scales and mins of groups 0..3; those
/// of 4..7 have their low 4 bits in the last four bytes and their high 2 in the top bits of the first eight.
void ReadKScales(const uint8_t* block, BlockOut out) {
  const float d = HalfAt(block), dmin = HalfAt(block + 2);
  const uint8_t* packed = block + 4;
  for (size_t g = 0; g < 8; ++g) {
    const size_t j = g % 4;
    const int scale = g < 4 ? packed[j] & 63 : (packed[8 + j] & 15) | (packed[j] >> 6) << 4;
    const int min = g < 4 ? packed[4 + j] & 63 : packed[8 + j] >> 4 | (packed[4 + j] >> 6) << 4;
    out.scales[g] = d * static_cast<float>(scale);
    out.mins[g] = -(dmin * static_cast<float>(min));
  }
}

void ReadQ4_K(const uint8_t* block, BlockOut out) {
  ReadKScales(block, out);
  for (size_t i = 0; i < 4; ++i) SplitNibbles(block + 16 + 32 * i, 32, out.codes + 64 * i);
}

void ReadQ5_K(const uint8_t* block, BlockOut out) {
  ReadKScales(block, out);
  const uint8_t* high = block + 16;
  for (size_t i = 0; i < 4; ++i) SplitNibbles(block + 48 + 32 * i, 32, out.codes + 64 * i);
  for (size_t g = 0; g < 8; ++g)
    for (size_t i = 0; i < 32; ++i) out.codes[32 * g + i] |= (high[i] >> g & 1) << 4;
}

void ReadQ6_K(const uint8_t* block, BlockOut out) {
  const float d = HalfAt(block + 208);
  for (size_t half = 0; half < 2; ++half) {
    const uint8_t *low = block + 64 * half, *high = block + 128 + 32 * half;
    for (size_t part = 0; part < 4; ++part) {
      for (size_t i = 0; i < 32; ++i) {
        const int nibble = low[i + part % 2 * 32] >> (part / 2 * 4) & 15;
        const int code = (nibble | (high[i] >> (2 * part) & 3) << 4) - 32;
        out.codes[128 * half + 32 * part + i] = static_cast<uint8_t>(code);
      }
    }
  }
  for (size_t g = 0; g < 16; ++g) out.scales[g] = d * static_cast<float>(static_cast<int8_t>(block[192 + g]));
}

using ReadBlock = void (*)(const uint8_t*, BlockOut);

ReadBlock ReaderOf(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kQ8_0:
      return ReadQ8_0;
    case TensorDtype::kQ4_0:
      return ReadQ4_0;
    case TensorDtype::kQ4_1:
      return ReadQ4_1;
    case TensorDtype::kQ4_K:
      return ReadQ4_K;
    case TensorDtype::kQ5_K:
      return ReadQ5_K;
    default:
      return ReadQ6_K;
  }
}

class GgmlMatrix final : public StoredMatrix {
 public:
  GgmlMatrix(const WeightSource& weight, const RowFormat& format, StoredTensor tensor)
      : StoredMatrix(format), weight_(weight), tensor_(std::move(tensor)) {}

  Status Read(size_t first, size_t count, RowBlock* out) const override {
    out->Resize(format(), count);
    first += weight_.first_row;
    const TensorDtypeInfo& info = InfoOf(tensor_.source().dtype);
    const size_t row_bytes = format().cols / info.values * info.bytes, factors = info.values / format().group;
    out->stored.resize(count * row_bytes);
    if (Status s = tensor_.Read(first * row_bytes, out->stored.size(), out->stored.data()); !s.ok()) return s;
    const ReadBlock read = ReaderOf(tensor_.source().dtype);
    const size_t blocks = out->stored.size() / info.bytes;
    for (size_t b = 0; b < blocks; ++b) {
      read(out->stored.data() + b * info.bytes,
           {out->elements.data() + b * info.values, out->scales.data() + b * factors,
            format().mins ? out->mins.data() + b * factors : nullptr});
    }
    if (Status s = CheckFinite(tensor_.source(), out->scales); !s.ok()) return s;
    return CheckFinite(tensor_.source(), out->mins);
  }

 private:
  const WeightSource& weight_;
  StoredTensor tensor_;
};

}  // namespace

void DescribeGgml(TensorDtype dtype, RowFormat* out) {
  const bool small = InfoOf(dtype).values == 32;
  out->bits =
      dtype == TensorDtype::kQ4_0 || dtype == TensorDtype::kQ4_1 || dtype == TensorDtype::kQ4_K ? 4 : 8;
  out->group = dtype == TensorDtype::kQ6_K ? 16 : 32;
  out->scale_dtype = small ? Dtype::kF16 : Dtype::kF32;
  out->mins = dtype == TensorDtype::kQ4_1 || dtype == TensorDtype::kQ4_K || dtype == TensorDtype::kQ5_K;
}

Matrix OpenGgml(const WeightSource& weight, const RowFormat& format, StoredTensor tensor) {
  return std::make_unique<GgmlMatrix>(weight, format, std::move(tensor));
}

}  // namespace skein::stored
