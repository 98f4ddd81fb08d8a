#include "transport/byte_codec.h"

#include <sys/random.h>

#include <random>

namespace skein::transport {

uint64_t RandomWord() {
  uint64_t word = 0;
  if (getrandom(&word, sizeof(word), 0) == static_cast<ssize_t>(sizeof(word))) return word;
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace skein::transport
