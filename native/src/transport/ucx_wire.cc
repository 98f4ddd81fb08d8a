#include "transport/ucx_wire.h"

#include <algorithm>

#include "transport/byte_codec.h"

namespace skein::transport {
namespace {

constexpr uint64_t kDescriptorMagic = 0x5f5843555f4e4b53;  // "SKN_UCX_"
constexpr size_t kWhereBytesMax = 128;

struct Head {
  uint64_t magic;
  uint32_t version;
  uint32_t where_bytes;
  uint32_t address_bytes;
  uint32_t reserved;
  uint64_t channel_id;
  uint64_t nonce[2];
  uint64_t checksum;  ///< of what follows
};

}  // namespace

std::vector<uint8_t> EncodeDescriptor(const UcxDescriptor& descriptor) {
  const std::string where = descriptor.where.substr(0, kWhereBytesMax);
  const auto& address = descriptor.address;
  Head head{kDescriptorMagic,
            kUcxWireVersion,
            static_cast<uint32_t>(where.size()),
            static_cast<uint32_t>(address.size()),
            0,
            descriptor.channel_id,
            {descriptor.nonce[0], descriptor.nonce[1]},
            0};
  std::vector<uint8_t> bytes = RecordBytes(head, where.size() + address.size());
  std::copy(where.begin(), where.end(), bytes.begin() + sizeof(head));
  std::copy(address.begin(), address.end(), bytes.end() - static_cast<ptrdiff_t>(address.size()));
  head.checksum = Checksum(bytes.data() + sizeof(head), bytes.size() - sizeof(head));
  std::memcpy(bytes.data(), &head, sizeof(head));
  return bytes;
}

Status DecodeDescriptor(const std::vector<uint8_t>& bytes, UcxDescriptor* out) {
  Head head{};
  if (bytes.size() > kHelloBytesMax || !ReadRecord(bytes.data(), bytes.size(), &head) ||
      head.magic != kDescriptorMagic)
    return {Code::kInvalidArgument, "this is not a descriptor of a UCX channel"};
  if (head.version != kUcxWireVersion)
    return {Code::kInvalidArgument, "descriptor version " + std::to_string(head.version) + ", needs " +
                                        std::to_string(kUcxWireVersion)};
  const uint64_t body_bytes = bytes.size() - sizeof(head);
  if (head.where_bytes > kWhereBytesMax || head.address_bytes == 0 ||
      uint64_t{head.where_bytes} + head.address_bytes != body_bytes ||
      Checksum(bytes.data() + sizeof(head), body_bytes) != head.checksum)
    return {Code::kInvalidArgument, "the descriptor of a UCX channel is damaged"};
  const auto body = bytes.begin() + sizeof(head);
  out->channel_id = head.channel_id;
  std::copy(head.nonce, head.nonce + 2, out->nonce);
  out->where.assign(body, body + head.where_bytes);
  std::replace_if(
      out->where.begin(), out->where.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  out->address.assign(body + head.where_bytes, bytes.end());
  return Status::Ok();
}

}  // namespace skein::transport
