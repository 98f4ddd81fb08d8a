#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace skein {

/// 128 bits of what was added, in order. It tells contents apart that differ by chance or by mistake; it is
/// no protection against someone who makes two of one hash.
class ContentHash {
 public:
  void Add(const void* data, size_t size) {
    Mix(size);
    const auto* bytes = static_cast<const uint8_t*>(data);
    for (; size > 0; bytes += 8) {
      uint64_t word = 0;
      const size_t take = size < 8 ? size : 8;
      std::memcpy(&word, bytes, take);
      Mix(word);
      size -= take;
    }
  }
  void Add(std::string_view text) { Add(text.data(), text.size()); }
  void Add(uint64_t number) { Mix(number); }

  uint64_t Low() const { return Finish(lanes_[0] ^ std::rotl(lanes_[1], 17)); }
  uint64_t High() const { return Finish(lanes_[1] ^ std::rotl(lanes_[0], 41)); }

 private:
  void Mix(uint64_t word) {
    lanes_[0] = (std::rotl(lanes_[0] ^ word, 29)) * 0x9e3779b97f4a7c15u;
    lanes_[1] = (std::rotl(lanes_[1] + word, 37)) * 0xc2b2ae3d27d4eb4fu + 1;
  }
  static uint64_t Finish(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }

  std::array<uint64_t, 2> lanes_{0x243f6a8885a308d3u, 0x13198a2e03707344u};
};

}  // namespace skein
