#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "skein/status.h"

namespace skein::transport {

/// What two ends of a UCX channel say to each other. The receiver's descriptor reaches the sender over the
/// bus. The sender connects and says hello with its own address; the receiver connects back and grants
/// credit; then pieces go one way and credit the other. A message is one or more pieces. The receiver has a
/// posted buffer for each piece it granted, so nothing piles up in UCX.

constexpr size_t kPieceBytes = 64 * 1024;  ///< payload of a piece
constexpr size_t kHelloBytesMax = 4096;
constexpr size_t kWindowMax = 1024;  ///< pieces

/// The last two bits of a tag; the others are the channel's random id.
enum class TagKind : uint64_t { kHello = 0, kPiece = 1, kCredit = 2 };
inline uint64_t TagOf(uint64_t channel_id, TagKind kind) {
  return (channel_id & ~uint64_t{3}) | static_cast<uint64_t>(kind);
}

struct UcxHello {
  uint64_t magic;
  uint64_t nonce[2];  ///< the descriptor's: only who was given it may connect
  uint32_t version;
  uint32_t address_bytes;
  uint64_t checksum;  ///< of the sender's worker address, which follows
};

struct UcxPiece {
  uint32_t magic;
  uint32_t closes;    ///< 1: no more messages; the other fields are 0
  uint64_t sequence;  ///< pieces before this one
  uint64_t step;
  uint64_t total;   ///< bytes of the message
  uint64_t offset;  ///< of this piece in it
  uint64_t reserved[3];
};
static_assert(sizeof(UcxPiece) == 64);

struct UcxCredit {
  uint32_t magic;
  uint32_t closes;    ///< 1: the receiver takes no more
  uint64_t window;    ///< pieces that may be unacknowledged
  uint64_t consumed;  ///< pieces taken since the start
};

constexpr uint64_t kHelloMagic = 0x4f4c4c4548204b53;
constexpr uint32_t kPieceMagic = 0x43504b53;
constexpr uint32_t kCreditMagic = 0x44434b53;
constexpr uint32_t kUcxWireVersion = 1;

/// What a sender needs to reach a receiver.
struct UcxDescriptor {
  uint64_t channel_id = 0;
  uint64_t nonce[2] = {};
  std::string where;  ///< host and interface, for messages
  std::vector<uint8_t> address;
};

std::vector<uint8_t> EncodeDescriptor(const UcxDescriptor& descriptor);
/// kInvalidArgument unless the bytes are whole and undamaged: UCX itself does not check an address.
Status DecodeDescriptor(const std::vector<uint8_t>& bytes, UcxDescriptor* out);

}  // namespace skein::transport
