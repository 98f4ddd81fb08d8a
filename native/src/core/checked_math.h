#pragma once

#include <cstddef>

namespace skein {

/// a * b (or a + b) into *out; false when it does not fit.
inline bool CheckedMul(size_t a, size_t b, size_t* out) { return !__builtin_mul_overflow(a, b, out); }
inline bool CheckedAdd(size_t a, size_t b, size_t* out) { return !__builtin_add_overflow(a, b, out); }

inline size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }
inline size_t RoundDown(size_t value, size_t multiple) { return value / multiple * multiple; }
inline size_t CeilDiv(size_t value, size_t by) { return (value + by - 1) / by; }

}  // namespace skein
