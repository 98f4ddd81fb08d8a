#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace skein::transport {

/// Fixed little-endian records at the head of descriptors and messages. Both ends are little-endian machines,
/// so a record is its own wire form; it must have no padding. RecordBytes leaves room for `extra_bytes` after
/// it.
template <typename Record>
std::vector<uint8_t> RecordBytes(const Record& record, size_t extra_bytes) {
  static_assert(std::has_unique_object_representations_v<Record> && std::is_trivially_copyable_v<Record>);
  std::vector<uint8_t> bytes(sizeof(Record) + extra_bytes);
  std::memcpy(bytes.data(), &record, sizeof(Record));
  return bytes;
}

/// False when `size` is too short for the record.
template <typename Record>
bool ReadRecord(const void* data, size_t size, Record* record) {
  static_assert(std::has_unique_object_representations_v<Record> && std::is_trivially_copyable_v<Record>);
  if (size < sizeof(Record)) return false;
  std::memcpy(record, data, sizeof(Record));
  return true;
}

/// FNV-1a: finds bytes that were damaged on the way; it authenticates nothing.
inline uint64_t Checksum(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

/// Random 64 bits of the kernel; names and secrets of channels.
uint64_t RandomWord();

}  // namespace skein::transport
