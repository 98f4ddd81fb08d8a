#include "int_panels.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/checked_math.h"
#include "core/float_bits.h"
#include "cpu/quad_dots.h"
#include "hwy/highway.h"
#include "tiny_model.h"

namespace skein::test {
namespace {

float Stored(float v, Dtype dtype) {
  if (dtype == Dtype::kF32) return v;
  const uint16_t bits = Narrow(dtype, v);
  return dtype == Dtype::kF16 ? FloatFromF16(bits) : FloatFromBF16(bits);
}

}  // namespace

void ForEachIntLevel(const std::function<void()>& body) {
  ForEachLevel([&] {
    body();
    if (!cpu::UseQuadDots() || (hwy::SupportedTargets() & (HWY_AVX3 | HWY_NEON)) == 0) return;
    cpu::AllowQuadDotsForTest(false);
    body();
    cpu::AllowQuadDotsForTest(true);
  });
}

IntWeight::IntWeight(const IntCase& c, std::mt19937& random)
    : spec(c), groups(CeilDiv(c.cols, c.format.group)), codes(c.rows * c.cols) {
  std::uniform_real_distribution<float> factor(0.001f, 0.05f);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(c.format.bits == 4 ? random() % 16 : random());
  for (size_t i = 0; i < c.rows * groups; ++i) {
    scales.push_back(Stored(factor(random) * (random() % 2 == 0 ? 1.0f : -1.0f), c.format.scale_dtype));
    if (c.format.zeros) zeros.push_back(static_cast<int8_t>(c.format.bits == 4 ? random() % 17 : random()));
    if (c.format.mins) mins.push_back(factor(random) - 0.02f);
  }
  if (c.ordered) {
    for (size_t i = 0; i < c.cols; ++i) order.push_back(static_cast<uint32_t>(i));
    std::shuffle(order.begin(), order.end(), random);
  }
  Pack();
}

double IntWeight::Element(size_t row, size_t col) const {
  const uint8_t byte = codes[row * spec.cols + col];
  const double code = spec.format.bits == 4 ? byte : static_cast<int8_t>(byte);
  const size_t at = row * groups + col / spec.format.group;
  if (spec.format.mins) return code * scales[at] + mins[at];
  const double zero = spec.format.zeros ? zeros[at] : spec.format.bits == 4 ? 8 : 0;
  return (code - zero) * scales[at];
}

WeightView IntWeight::view() const {
  return {.data = packed_codes.data(),
          .rows = spec.rows,
          .cols = spec.cols,
          .layout = WeightLayout::kIntPanels,
          .partials = partials,
          .group = spec.format.group,
          .bits = spec.format.bits,
          .scale_dtype = spec.format.scale_dtype,
          .scales = packed_scales.data(),
          .zeros = spec.format.zeros ? packed_zeros.data() : nullptr,
          .mins = spec.format.mins ? packed_mins.data() : nullptr,
          .column_order = spec.ordered ? order.data() : nullptr,
          .row_scaled_activations = spec.row_scaled};
}

void IntWeight::Pack() {
  const cpu::IntPanelSizes sizes = cpu::IntPanelBytes(spec.format, spec.rows, spec.cols);
  packed_codes.resize(sizes.codes, std::byte{0xff});
  packed_scales.resize(sizes.scales, std::byte{0xff});
  packed_zeros.resize(sizes.zeros, -1);
  packed_mins.resize(sizes.mins / sizeof(float), NAN);
  const size_t first = std::min(spec.rows, cpu::IntPanelRows());
  for (const auto& [begin, end] : {std::pair(size_t{0}, first), std::pair(first, spec.rows)}) {
    const cpu::IntRows rows{codes.data() + begin * spec.cols, scales.data() + begin * groups,
                            zeros.empty() ? nullptr : zeros.data() + begin * groups,
                            mins.empty() ? nullptr : mins.data() + begin * groups};
    cpu::PackIntRows(spec.format, rows, end - begin, spec.cols, begin, packed_codes.data(),
                     packed_scales.data(), packed_zeros.data(), packed_mins.data());
  }
}

OwnedRows::OwnedRows(const float* x, size_t stride, size_t rows, const WeightView& weight)
    : room_(cpu::QuantizedRowsBytes(rows, weight.cols) + 64) {
  auto* at = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(room_.data()) + 63) / 64 * 64);
  rows_ = cpu::QuantizedRowsAt(at, rows, weight.cols, cpu::ActivationBlock(weight));
  cpu::QuantizeRows(x, stride, weight.column_order, weight.row_scaled_activations, rows_);
}

}  // namespace skein::test
