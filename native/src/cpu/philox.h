#pragma once

#include <array>
#include <cstdint>

namespace skein::cpu {

/// Philox 4x32-10 (Salmon et al. 2011): a counter-based generator, so that noise is a pure function of its
/// inputs.
inline std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// Of Philox 2x32: a word's multiplier, and what is added to the key each round.
constexpr uint32_t kPhilox2Multiplier = 0xD256D193u;
constexpr uint32_t kPhiloxWeyl = 0x9E3779B9u;

/// Philox 2x32-10.
inline std::array<uint32_t, 2> Philox2(std::array<uint32_t, 2> counter, uint32_t key) {
  for (int round = 0; round < 10; ++round, key += kPhiloxWeyl) {
    const uint64_t product = uint64_t{kPhilox2Multiplier} * counter[0];
    counter = {static_cast<uint32_t>(product >> 32) ^ key ^ counter[1], static_cast<uint32_t>(product)};
  }
  return counter;
}

}  // namespace skein::cpu
