#pragma once

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>

#include "check.h"
#include "skein/channel.h"

namespace skein::test {

/// Both ends of a queue in memory, for tests that are about what is sent.
struct Pipe : SendChannel, ReceiveChannel {
  struct Message {
    uint64_t step;
    std::string data;
  };
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Message> messages;
  bool failed = false;
  std::string reason;
  /// What a Receive must have left of its deadline: one that ran out of time inside a message would fail a
  /// real channel, so it is to be given the step's whole deadline.
  std::chrono::milliseconds left_least{1000};

  Status Send(uint64_t step, const void* data, size_t size, Deadline) override {
    std::lock_guard lock(mutex);
    if (failed) return {Code::kPeerLost, reason};
    messages.push_back({step, std::string(static_cast<const char*>(data), size)});
    wake.notify_all();
    return Status::Ok();
  }
  Status WaitMessage(Deadline deadline) override {
    std::unique_lock lock(mutex);
    if (!wake.wait_until(lock, deadline, [&] { return failed || !messages.empty(); }))
      return {Code::kDeadline, "nothing came"};
    return failed ? Status(Code::kPeerLost, reason) : Status::Ok();
  }
  Status Receive(uint64_t* step, void* data, size_t capacity, size_t* size, Deadline deadline) override {
    std::lock_guard lock(mutex);
    CHECK(!messages.empty() && deadline > Clock::now() + left_least);
    const Message message = std::move(messages.front());
    messages.pop_front();
    *step = message.step;
    *size = message.data.size();
    if (*size > capacity) return {Code::kInvalidArgument, "too large"};
    std::memcpy(data, message.data.data(), *size);
    return Status::Ok();
  }
  void Fail(const std::string& why) override {
    std::lock_guard lock(mutex);
    failed = true;
    reason = why;
    wake.notify_all();
  }
  ChannelCounters counters() const override { return {}; }
};

}  // namespace skein::test
