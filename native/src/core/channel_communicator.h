#pragma once

#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/mapped_memory.h"
#include "core/peer_channels.h"

namespace skein {

/// A group over channels between each two of its ranks. Values go in rounds: every rank first sends what it
/// has for the others, then receives. A message of a round is small enough for a channel to hold, so the rank
/// that is furthest behind can always send, and none waits for ever.
class ChannelCommunicator final : public Communicator {
 public:
  /// Payload of one message, at most. A channel must hold more.
  static constexpr size_t kRoundBytes = size_t{256} << 10;

  /// Memory for `group`, whose peers `channels` has or will have; `channels` must outlive this.
  static Status Create(const RankGroup& group, PeerChannels* channels, std::unique_ptr<Communicator>* out);

  size_t size() const override { return peers_.size(); }
  size_t rank() const override { return rank_; }
  void BeginStep(uint64_t step) override;
  Status AllToAll(const char* op, std::span<const Matrix> sends, std::span<const Matrix> receives) override;
  Status AllGather(const char* op, Matrix x, std::span<const uint32_t> widths, Matrix out) override;
  Status AllReduce(const char* op, Matrix x, Reduction reduction, Matrix out) override;
  Status ReduceScatter(const char* op, Matrix x, std::span<const uint32_t> widths, Reduction reduction,
                       Matrix out) override;
  Status Broadcast(const char* op, size_t root, Matrix x) override;

 private:
  static constexpr size_t kRoundFloats = kRoundBytes / sizeof(float);

  /// From as many on, each of more than two ranks adds up a share, and the sums are gathered: a value crosses
  /// twice, however many ranks there are, and waits twice.
  static constexpr size_t kSharedFloats = size_t{8} << 10;

  ChannelCommunicator(const RankGroup& group, PeerChannels* channels);
  Status SendRound(size_t to, const Matrix& x, size_t first);
  Status ReceiveRound(size_t from, std::span<const Matrix> receives, size_t first);
  /// Of `sends_`, rank r's goes to rank r, and what comes is reduced with this rank's own into out, which has
  /// as many values, at most kRoundFloats.
  Status ReduceParts(const char* op, Reduction reduction, Matrix out);
  /// The same number of floats of all ranks, which lie in `parts_` and may be used up, into `out`.
  void Reduce(Reduction reduction, size_t count, float* out);
  float* Room(size_t index) { return reinterpret_cast<float*>(room_.data()) + index * kRoundFloats; }
  uint64_t Tag() const;
  /// `status` of waiting for `from`, in words that name the operation.
  Status Explain(const Status& status, size_t from) const;
  std::string Where() const;

  const std::string name_;
  const size_t rank_;
  PeerChannels& channels_;
  /// Peers of the channels by rank.
  std::vector<std::string> peers_;
  MappedMemory room_;  // [size + 1][kRoundFloats]: by rank, and one for messages
  std::vector<Matrix> sends_, receives_;
  std::vector<const float*> parts_;
  std::vector<uint32_t> shares_;  // of values that ranks reduce for each other

  /// What was copied into the room for messages.
  Matrix packed_;

  /// The operation under way.
  const char* op_ = "";
  uint64_t step_ = 0;
  uint64_t exchange_ = 0;
};

}  // namespace skein
