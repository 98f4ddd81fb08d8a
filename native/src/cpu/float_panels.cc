#include "cpu/float_panels.h"

#include <algorithm>
#include <array>

#include "core/checked_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/float_panels.cc"
// clang-format off: this order is needed.
#include "hwy/foreach_target.h"
#include "cpu/panel-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// The square that is turned in registers: 16 bytes wide, where a panel has so many rows.
template <typename U>
constexpr size_t kSquare = std::min(16 / sizeof(U), kPanelRows);

template <typename U>
using SquareTag = hn::FixedTag<U, kSquare<U>>;

/// kSquare columns of kSquare rows, null for rows of zeros, become kSquare columns kPanelRows apart.
template <typename U>
HWY_INLINE void TurnSquare(const std::byte* const* rows, size_t offset, U* HWY_RESTRICT out) {
  constexpr size_t n = kSquare<U>;
  const SquareTag<U> d;
  hn::Vec<SquareTag<U>> v[n], w[n];
  for (size_t i = 0; i < n; ++i)
    v[i] = rows[i] != nullptr ? hn::LoadU(d, reinterpret_cast<const U*>(rows[i] + offset)) : hn::Zero(d);
  // Each round rotates the bits of (row, column) by one.
  for (size_t round = 1; round < n; round *= 2) {
    for (size_t i = 0; i < n / 2; ++i) {
      w[2 * i] = hn::InterleaveLower(d, v[i], v[i + n / 2]);
      w[2 * i + 1] = hn::InterleaveUpper(d, v[i], v[i + n / 2]);
    }
    for (size_t i = 0; i < n; ++i) v[i] = w[i];
  }
  for (size_t i = 0; i < n; ++i) hn::StoreU(v[i], d, out + i * kPanelRows);
}

template <typename T, typename U>
void PackPanel(const std::byte* rows, size_t count, size_t cols, U* HWY_RESTRICT out) {
  const size_t row_bytes = cols * sizeof(U);
  std::array<const std::byte*, kPanelRows> slots{};
  for (size_t r = 0; r < count; ++r) slots[PanelSlot<T>(r)] = rows + r * row_bytes;
  size_t col = 0;
  for (; col + kSquare<U> <= cols; col += kSquare<U>) {
    for (size_t slot = 0; slot < kPanelRows; slot += kSquare<U>)
      TurnSquare(&slots[slot], col * sizeof(U), out + col * kPanelRows + slot);
  }
  for (; col < cols; ++col) {
    for (size_t slot = 0; slot < kPanelRows; ++slot) {
      U& to = out[col * kPanelRows + slot];
      if (slots[slot] == nullptr) {
        to = 0;
      } else {
        std::memcpy(&to, slots[slot] + col * sizeof(U), sizeof(U));
      }
    }
  }
}

template <typename T, typename U>
void PackRows(const void* rows, size_t count, size_t cols, size_t first, std::byte* panels) {
  auto* out = reinterpret_cast<U*>(panels) + first * cols;
  const auto* from = static_cast<const std::byte*>(rows);
  for (size_t r = 0; r < count; r += kPanelRows) {
    PackPanel<T>(from + r * cols * sizeof(U), std::min(kPanelRows, count - r), cols, out + r * cols);
  }
}

void PackFloatRowsImpl(const void* rows, Dtype dtype, size_t count, size_t cols, size_t first,
                       std::byte* panels) {
  switch (dtype) {
    case Dtype::kF32:
      return PackRows<float, uint32_t>(rows, count, cols, first, panels);
    case Dtype::kF16:
      return PackRows<F16, uint16_t>(rows, count, cols, first, panels);
    case Dtype::kBF16:
      return PackRows<BF16, uint16_t>(rows, count, cols, first, panels);
    case Dtype::kF8E4M3:
      return PackRows<F8E4M3, uint8_t>(rows, count, cols, first, panels);
  }
}

template <typename T>
void UnpackRow(const WeightView& weight, size_t row, float* HWY_RESTRICT out) {
  const T* from = static_cast<const T*>(weight.data) + row / kPanelRows * kPanelRows * weight.cols +
                  PanelSlot<T>(row % kPanelRows);
  for (size_t col = 0; col < weight.cols; col += kLanes) {
    const size_t n = std::min(kLanes, weight.cols - col);
    HWY_ALIGN T gathered[kLanes] = {};
    for (size_t i = 0; i < n; ++i) gathered[i] = from[(col + i) * kPanelRows];
    const VF wide = LoadF32(gathered);
    if (n == kLanes) {
      hn::StoreU(wide, DF(), out + col);
    } else {
      StorePartial(wide, out + col, n);
    }
  }
  if (weight.scales == nullptr) return;
  const auto* scales = static_cast<const float*>(weight.scales);
  const size_t padded = RoundUp(weight.rows, kPanelRows);
  for (size_t col = 0; col < weight.cols; ++col) out[col] *= scales[col / weight.group * padded + row];
}

void UnpackFloatRowImpl(const WeightView& weight, size_t row, float* out) {
  switch (weight.dtype) {
    case Dtype::kF32:
      return UnpackRow<float>(weight, row, out);
    case Dtype::kF16:
      return UnpackRow<F16>(weight, row, out);
    case Dtype::kBF16:
      return UnpackRow<BF16>(weight, row, out);
    case Dtype::kF8E4M3:
      return UnpackRow<F8E4M3>(weight, row, out);
  }
}

size_t PanelRowsImpl() { return kPanelRows; }

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skein {
HWY_EXPORT(PanelRowsImpl);
HWY_EXPORT(PackFloatRowsImpl);
HWY_EXPORT(UnpackFloatRowImpl);
namespace cpu {

size_t FloatPanelRows() { return HWY_DYNAMIC_DISPATCH(PanelRowsImpl)(); }

size_t FloatPanelBytes(Dtype dtype, size_t rows, size_t cols) {
  return RoundUp(rows, FloatPanelRows()) * cols * DtypeBytes(dtype);
}

void PackFloatRows(const void* rows, Dtype dtype, size_t count, size_t cols, size_t first,
                   std::byte* panels) {
  HWY_DYNAMIC_DISPATCH(PackFloatRowsImpl)(rows, dtype, count, cols, first, panels);
}

void UnpackFloatRow(const WeightView& weight, size_t row, float* out) {
  HWY_DYNAMIC_DISPATCH(UnpackFloatRowImpl)(weight, row, out);
}

}  // namespace cpu
}  // namespace skein
#endif
