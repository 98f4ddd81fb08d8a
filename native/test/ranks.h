#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "core/channel_communicator.h"
#include "core/peer_channels.h"
#include "skein/channel.h"

/// Ranks of a group as threads of this process.
namespace skein::test {

struct Ends {
  std::shared_ptr<SendChannel> send;
  std::shared_ptr<ReceiveChannel> receive;
};
/// Makes the two ends of a channel.
using Link = std::function<Ends()>;

Ends LinkPipe();

/// Calls bind(from, to, ends) for each two of `size` ranks.
void LinkAll(uint32_t size, const Link& link,
             const std::function<void(uint32_t from, uint32_t to, const Ends&)>& bind);

/// Communicators of one group, each with channels of its own.
class Ranks {
 public:
  explicit Ranks(uint32_t size, const Link& link = LinkPipe);

  void BeginStep(uint64_t step, std::chrono::milliseconds deadline);
  Communicator& at(size_t rank) { return *ranks_[rank]->communicator; }
  void Cancel(size_t rank) { ranks_[rank]->cancelled.store(true); }
  PeerChannels& channels(size_t rank) { return ranks_[rank]->channels; }

  /// What body(rank, its communicator) returns on a thread for each rank.
  std::vector<Status> Run(const std::function<Status(size_t rank, Communicator&)>& body);

 private:
  struct Rank {
    std::atomic<bool> cancelled{false};
    PeerChannels channels{cancelled};
    std::unique_ptr<Communicator> communicator;
  };
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace skein::test
