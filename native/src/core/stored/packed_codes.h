#pragma once

#include <cstdint>
#include <cstring>

namespace skein::stored {

/// The eight 4-bit codes of a word, one a byte, lowest bits first in memory.
inline uint64_t SpreadNibbles(uint32_t word) {
  uint64_t x = word;
  x = (x | (x << 16)) & 0x0000ffff0000ffff;
  x = (x | (x << 8)) & 0x00ff00ff00ff00ff;
  return (x | (x << 4)) & 0x0f0f0f0f0f0f0f0f;
}

/// Codes of 8 bits are stored from 0 to 255; ours are signed.
inline uint32_t SignBytes(uint32_t word) { return word ^ 0x80808080u; }

/// Word `index` of little-endian int32s.
inline uint32_t WordAt(const uint8_t* words, size_t index) {
  uint32_t word;
  std::memcpy(&word, words + 4 * index, 4);
  return word;
}

/// The code of `bits` bits at `index` of those packed into words, as it is stored.
inline uint32_t PackedCode(const uint8_t* words, size_t index, uint32_t bits) {
  const size_t per_word = 32 / bits;
  return WordAt(words, index / per_word) >> (index % per_word * bits) & ((1u << bits) - 1);
}

}  // namespace skein::stored
