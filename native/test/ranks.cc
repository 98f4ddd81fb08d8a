#include "ranks.h"

#include <thread>

#include "check.h"
#include "pipe.h"

namespace skein::test {

Ends LinkPipe() {
  const auto pipe = std::make_shared<Pipe>();
  pipe->left_least = {};
  return {pipe, pipe};
}

void LinkAll(uint32_t size, const Link& link,
             const std::function<void(uint32_t from, uint32_t to, const Ends&)>& bind) {
  for (uint32_t from = 0; from < size; ++from) {
    for (uint32_t to = 0; to < size; ++to) {
      if (from != to) bind(from, to, link());
    }
  }
}

Ranks::Ranks(uint32_t size, const Link& link) {
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

void Ranks::BeginStep(uint64_t step, std::chrono::milliseconds deadline) {
  for (const auto& rank : ranks_) {
    rank->channels.BeginStep(Clock::now() + deadline);
    rank->communicator->BeginStep(step);
  }
}

std::vector<Status> Ranks::Run(const std::function<Status(size_t rank, Communicator&)>& body) {
  std::vector<Status> results(ranks_.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks_.size(); ++r) threads.emplace_back([&, r] { results[r] = body(r, at(r)); });
  for (std::thread& thread : threads) thread.join();
  return results;
}

}  // namespace skein::test
