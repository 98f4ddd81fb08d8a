#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/channel_communicator.h"
#include "pipe.h"

/// Ranks of a group as threads of this process.
namespace skein::test {

struct Ends {
  std::shared_ptr<SendChannel> send;
  std::shared_ptr<ReceiveChannel> receive;
};
/// Makes the two ends of a channel.
using Link = std::function<Ends()>;

inline Ends LinkPipe() {
  const auto pipe = std::make_shared<Pipe>();
  pipe->left_least = {};
  return {pipe, pipe};
}

/// Calls bind(from, to, ends) for each two of `size` ranks.
template <typename Bind>
void LinkAll(uint32_t size, const Link& link, const Bind& bind) {
  for (uint32_t from = 0; from < size; ++from) {
    for (uint32_t to = 0; to < size; ++to) {
      if (from != to) bind(from, to, link());
    }
  }
}

/// Communicators of one group, each with channels of its own.
class Ranks {
 public:
  explicit Ranks(uint32_t size, const Link& link = LinkPipe) {
    for (uint32_t r = 0; r < size; ++r) {
      Rank& rank = *ranks_.emplace_back(std::make_unique<Rank>());
      CHECK_OK(ChannelCommunicator::Create({"tp", size, r}, &rank.channels, &rank.communicator));
    }
    LinkAll(size, link, [&](uint32_t from, uint32_t to, const Ends& ends) {
      ranks_[from]->channels.BindSend(PeerOf("tp", to), ends.send);
      ranks_[to]->channels.BindReceive(PeerOf("tp", from), ends.receive);
    });
    BeginStep(7, std::chrono::seconds(60));
  }

  void BeginStep(uint64_t step, std::chrono::milliseconds deadline) {
    for (const auto& rank : ranks_) {
      rank->channels.BeginStep(Clock::now() + deadline);
      rank->communicator->BeginStep(step);
    }
  }
  Communicator& at(size_t rank) { return *ranks_[rank]->communicator; }
  void Cancel(size_t rank) { ranks_[rank]->cancelled.store(true); }
  PeerChannels& channels(size_t rank) { return ranks_[rank]->channels; }

  /// What body(rank, its communicator) returns on a thread for each rank.
  template <typename Body>
  std::vector<Status> Run(const Body& body) {
    std::vector<Status> results(ranks_.size());
    std::vector<std::thread> threads;
    for (size_t r = 0; r < ranks_.size(); ++r) threads.emplace_back([&, r] { results[r] = body(r, at(r)); });
    for (std::thread& thread : threads) thread.join();
    return results;
  }

 private:
  struct Rank {
    std::atomic<bool> cancelled{false};
    PeerChannels channels{cancelled};
    std::unique_ptr<Communicator> communicator;
  };
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace skein::test
