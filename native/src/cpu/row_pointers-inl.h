// Pointers to the rows of x that a tile multiplies. Included once per target.
#if defined(SKEIN_CPU_ROW_POINTERS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SKEIN_CPU_ROW_POINTERS_INL_H
#undef SKEIN_CPU_ROW_POINTERS_INL_H
#else
#define SKEIN_CPU_ROW_POINTERS_INL_H
#endif

#include <cstddef>
#include <utility>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skein::HWY_NAMESPACE {

/// Where kRows rows that lie `stride` apart have come to. Three share a pointer, as an instruction adds the
/// stride or twice the stride to it: pointers of twelve rows would not fit the registers. Pack expansions
/// rather than loops, which GCC would keep the pointers in memory for.
template <size_t kRows, typename T>
class RowPointers {
 public:
  HWY_INLINE RowPointers(const T* first, size_t stride) : RowPointers(first, stride, Pointers()) {}

  template <size_t kRow>
  HWY_INLINE const T* row() const {
    return pointers_[kRow / kShared] + kRow % kShared * stride_;
  }

  HWY_INLINE void Advance(size_t count) { Advance(count, Pointers()); }

  /// Keeps GCC from deriving the pointers from others, and loads through them behind what stands before.
  HWY_INLINE void Settle() { Advance(0, Pointers()); }

 private:
  static constexpr size_t kShared = 3;
  using Pointers = std::make_index_sequence<(kRows + kShared - 1) / kShared>;

  template <size_t... kAt>
  HWY_INLINE RowPointers(const T* first, size_t stride, std::index_sequence<kAt...> all)
      : pointers_{first + kAt * kShared * stride...}, stride_(stride) {
    Advance(0, all);
  }

  template <size_t... kAt>
  HWY_INLINE void Advance(size_t count, std::index_sequence<kAt...>) {
    (Move(count, pointers_[kAt]), ...);
  }

  static HWY_INLINE void Move(size_t count, const T*& pointer) {
    pointer += count;
    asm volatile("" : "+r"(pointer));
  }

  const T* pointers_[Pointers::size()];
  size_t stride_;
};

}  // namespace skein::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
