#include "transport/shm_channel.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "check.h"

using namespace skein;
using namespace skein::transport;
using std::chrono::milliseconds;

namespace {

struct Pair {
  std::unique_ptr<ShmSendChannel> send;
  std::unique_ptr<ShmReceiveChannel> receive;
  ShmHeader* sender_view = nullptr;
};

Deadline In(int ms) { return Clock::now() + milliseconds(ms); }

std::unique_ptr<ShmReceiveChannel> OpenReceiver(size_t capacity, std::vector<uint8_t>* descriptor) {
  std::unique_ptr<ShmRing> ring;
  CHECK_OK(ShmRing::Create("test", capacity, &ring));
  *descriptor = ring->descriptor();
  return std::make_unique<ShmReceiveChannel>("test", std::move(ring));
}

Pair Open(size_t capacity) {
  Pair pair;
  std::vector<uint8_t> descriptor;
  pair.receive = OpenReceiver(capacity, &descriptor);
  std::unique_ptr<ShmRing> ring;
  CHECK_OK(ShmRing::Open("test", descriptor, &ring));
  pair.sender_view = &ring->header();
  pair.send = std::make_unique<ShmSendChannel>("test", std::move(ring));
  return pair;
}

/// The bytes of message `index` follow from `seed`; sizes mix none, small, and larger than the ring.
std::vector<uint8_t> Message(uint32_t seed, uint32_t index, size_t capacity) {
  std::minstd_rand random(seed * 7919 + index);
  const uint32_t kind = random() % 8;
  const size_t size = kind == 0  ? 0
                      : kind < 5 ? random() % 300
                      : kind < 7 ? random() % capacity
                                 : random() % (5 * capacity);
  std::vector<uint8_t> data(size);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random() >> 8);
  return data;
}

void SendAll(SendChannel& channel, uint32_t seed, uint32_t count, size_t capacity) {
  for (uint32_t i = 0; i < count; ++i) {
    const auto data = Message(seed, i, capacity);
    CHECK_OK(channel.Send(i, data.data(), data.size(), In(20'000)));
  }
}

void ReceiveAll(ReceiveChannel& channel, uint32_t seed, uint32_t count, size_t capacity) {
  std::vector<uint8_t> buffer(5 * capacity);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const auto expected = Message(seed, i, capacity);
    uint64_t step = 0;
    size_t size = 0;
    CHECK_OK(channel.Receive(&step, buffer.data(), buffer.size(), &size, In(20'000)));
    CHECK_EQ(step, uint64_t{i});
    CHECK_EQ(size, expected.size());
    CHECK(size == 0 || std::memcmp(buffer.data(), expected.data(), size) == 0);
    bytes += size;
  }
  CHECK_EQ(channel.counters().messages, uint64_t{count});
  CHECK_EQ(channel.counters().bytes, bytes);
}

int CountFiles() {
  DIR* directory = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

/// Runs `body` in a child that ends without the parent's exit handlers.
pid_t Fork(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    std::_Exit(0);
  }
  CHECK(pid > 0);
  return pid;
}

int64_t MillisecondsSince(Deadline start) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - start).count();
}

}  // namespace

TEST(TwoThreadsOfAnySizes) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    const size_t capacity = size_t{4096} << (seed % 4);
    Pair pair = Open(capacity);
    std::thread sender([&] { SendAll(*pair.send, seed, 400, capacity); });
    ReceiveAll(*pair.receive, seed, 400, capacity);
    sender.join();
  }
}

TEST(TwoProcessesOfAnySizes) {
  constexpr size_t kCapacity = 16384;
  std::vector<uint8_t> descriptor;
  const auto receiver = OpenReceiver(kCapacity, &descriptor);
  const pid_t child = Fork([&] {
    std::unique_ptr<ShmRing> ring;
    CHECK_OK(ShmRing::Open("test", descriptor, &ring));
    ShmSendChannel sender("test", std::move(ring));
    SendAll(sender, 99, 2000, kCapacity);
  });
  ReceiveAll(*receiver, 99, 2000, kCapacity);
  int wait_status = 0;
  CHECK_EQ(waitpid(child, &wait_status, 0), child);
  CHECK_EQ(wait_status, 0);
  // The other side closed, after all it sent.
  uint64_t step;
  size_t size;
  uint8_t byte;
  CHECK(receiver->Receive(&step, &byte, 1, &size, In(1000)).code() == Code::kPeerLost);
}

TEST(KilledPeerIsReportedByFail) {
  std::vector<uint8_t> descriptor;
  const auto receiver = OpenReceiver(1 << 16, &descriptor);
  const pid_t child = Fork([&] {
    std::unique_ptr<ShmRing> ring;
    CHECK_OK(ShmRing::Open("test", descriptor, &ring));
    ShmSendChannel sender("test", std::move(ring));
    const std::vector<uint8_t> data(1 << 20);
    for (;;) CHECK_OK(sender.Send(1, data.data(), data.size(), In(20'000)));
  });
  std::vector<uint8_t> buffer(1 << 20);
  uint64_t step;
  size_t size;
  for (int i = 0; i < 20; ++i)
    CHECK_OK(receiver->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000)));
  CHECK_EQ(kill(child, SIGKILL), 0);
  int wait_status = 0;
  waitpid(child, &wait_status, 0);
  std::thread supervisor([&] {
    std::this_thread::sleep_for(milliseconds(50));
    receiver->Fail("process 7 was killed");
  });
  const auto start = Clock::now();
  Status status;
  do status = receiver->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000));
  while (status.ok());
  supervisor.join();
  CHECK(status.code() == Code::kPeerLost);
  CHECK_EQ(status.message(), std::string("process 7 was killed"));
  CHECK(MillisecondsSince(start) < 5000);
}

TEST(KilledReceiverIsReportedByFail) {
  int pipe_fds[2];
  CHECK_EQ(pipe(pipe_fds), 0);
  const pid_t child = Fork([&] {
    std::vector<uint8_t> descriptor;
    const auto receiver = OpenReceiver(1 << 16, &descriptor);
    CHECK_EQ(write(pipe_fds[1], descriptor.data(), descriptor.size()),
             static_cast<ssize_t>(descriptor.size()));
    for (;;) pause();
  });
  std::vector<uint8_t> descriptor(512);
  descriptor.resize(static_cast<size_t>(read(pipe_fds[0], descriptor.data(), descriptor.size())));
  std::unique_ptr<ShmRing> ring;
  CHECK_OK(ShmRing::Open("test", descriptor, &ring));
  ShmSendChannel sender("test", std::move(ring));
  CHECK_EQ(kill(child, SIGKILL), 0);
  int wait_status = 0;
  waitpid(child, &wait_status, 0);
  std::thread supervisor([&] {
    std::this_thread::sleep_for(milliseconds(50));
    sender.Fail("gone");
  });
  const std::vector<uint8_t> data(1 << 20);
  CHECK(sender.Send(1, data.data(), data.size(), In(20'000)).code() == Code::kPeerLost);
  supervisor.join();
  std::unique_ptr<ShmRing> late;
  CHECK(ShmRing::Open("late", descriptor, &late).code() == Code::kPeerLost);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

TEST(CloseWakesABlockedPeer) {
  {
    Pair pair = Open(4096);
    std::thread closer([&] {
      std::this_thread::sleep_for(milliseconds(30));
      pair.receive.reset();
    });
    const std::vector<uint8_t> data(100'000);
    CHECK(pair.send->Send(1, data.data(), data.size(), In(20'000)).code() == Code::kPeerLost);
    CHECK(pair.send->Send(2, nullptr, 0, In(20'000)).code() == Code::kPeerLost);
    closer.join();
  }
  Pair pair = Open(4096);
  std::thread closer([&] {
    std::this_thread::sleep_for(milliseconds(30));
    pair.send.reset();
  });
  uint64_t step;
  size_t size;
  const auto start = Clock::now();
  CHECK(pair.receive->Receive(&step, nullptr, 0, &size, In(20'000)).code() == Code::kPeerLost);
  CHECK(MillisecondsSince(start) < 5000);
  closer.join();
}

TEST(DeadlineOfAnIdleChannelLeavesItUsable) {
  Pair pair = Open(4096);
  uint64_t step;
  size_t size;
  uint8_t buffer[8192];
  const auto start = Clock::now();
  CHECK(pair.receive->Receive(&step, buffer, sizeof(buffer), &size, In(60)).code() == Code::kDeadline);
  CHECK(MillisecondsSince(start) >= 59);
  CHECK_OK(pair.send->Send(5, buffer, 3000, In(100)));
  CHECK_OK(pair.receive->Receive(&step, buffer, sizeof(buffer), &size, In(100)));
  CHECK_EQ(size, size_t{3000});
  // A deadline inside a message ends the channel: the rest of the stream would have no meaning.
  CHECK(pair.send->Send(6, buffer, sizeof(buffer), In(30)).code() == Code::kDeadline);
  CHECK(pair.send->Send(7, buffer, 0, In(30)).code() == Code::kPeerLost);
  CHECK(pair.receive->Receive(&step, buffer, sizeof(buffer), &size, In(30)).code() == Code::kPeerLost);
}

TEST(TooLargeForTheBufferFails) {
  Pair pair = Open(4096);
  uint8_t buffer[64];
  uint64_t step;
  size_t size;
  CHECK_OK(pair.send->Send(5, buffer, 64, In(100)));
  CHECK(pair.receive->Receive(&step, buffer, 63, &size, In(100)).code() == Code::kInvalidArgument);
  CHECK(pair.receive->Receive(&step, buffer, 64, &size, In(100)).code() == Code::kPeerLost);
  CHECK(pair.send->Send(5, buffer, 64, In(100)).code() == Code::kPeerLost);
}

TEST(CorruptRingIsAnError) {
  std::mt19937_64 random(4);
  std::vector<uint8_t> buffer(100'000);
  for (int round = 0; round < 3000; ++round) {
    Pair pair = Open(4096);
    CHECK_OK(pair.send->Send(1, buffer.data(), random() % 2000, In(100)));
    auto* bytes = reinterpret_cast<uint8_t*>(pair.sender_view);
    const uint64_t words[] = {
        0, 64, 4096, 8192, ~uint64_t{0}, ~uint64_t{63}, random(), random() & ~uint64_t{63}};
    const uint64_t word = words[random() % 8];
    switch (random() % 4) {
      case 0:
        pair.sender_view->tail.store(word);
        break;
      case 1:
        pair.sender_view->head.store(word);
        break;
      case 2:
        std::memcpy(bytes + kShmHeaderBytes + 8 * (random() % 3), &word, sizeof(word));
        break;
      default:
        for (int i = 0; i < 40; ++i)
          bytes[random() % (kShmHeaderBytes + 4096)] = static_cast<uint8_t>(random());
    }
    uint64_t step;
    size_t size;
    for (int i = 0; i < 3; ++i) {
      const Status received = pair.receive->Receive(&step, buffer.data(), buffer.size(), &size, Clock::now());
      CHECK(!received.ok() || size <= buffer.size());
      const Status sent = pair.send->Send(1, buffer.data(), random() % 6000, Clock::now());
      CHECK(sent.ok() || !sent.message().empty());
    }
  }
  Pair pair = Open(4096);
  pair.sender_view->tail.store(8192);
  uint64_t step;
  size_t size;
  const Status status = pair.receive->Receive(&step, buffer.data(), buffer.size(), &size, In(1000));
  CHECK(status.code() == Code::kPeerLost);
  CHECK(status.message().find("corrupt") != std::string::npos);
}

TEST(DescriptorsAreChecked) {
  std::vector<uint8_t> good;
  const auto receiver = OpenReceiver(4096, &good);
  std::unique_ptr<ShmRing> ring;
  std::mt19937_64 random(9);
  for (int round = 0; round < 2000; ++round) {
    auto bad = good;
    if (round % 3 == 0) bad.resize(random() % (2 * bad.size()));
    if (!bad.empty()) bad[random() % bad.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    const Status status = ShmRing::Open("test", bad, &ring);
    // Bytes 20 to 23 are reserved: damage there is harmless.
    if (status.ok()) {
      CHECK(std::equal(bad.begin(), bad.begin() + 20, good.begin()));
      ring.reset();
      CHECK(ShmRing::Open("test", good, &ring).code() == Code::kPeerLost);
      return;
    }
    CHECK(status.code() == Code::kInvalidArgument || status.code() == Code::kPeerLost);
  }
}

TEST(ARingHasOneSender) {
  std::vector<uint8_t> descriptor;
  const auto receiver = OpenReceiver(4096, &descriptor);
  std::unique_ptr<ShmRing> first, second;
  CHECK_OK(ShmRing::Open("test", descriptor, &first));
  CHECK(ShmRing::Open("test", descriptor, &second).code() == Code::kPeerLost);
  CHECK(ShmRing::Create("test", 0, &second).code() == Code::kInvalidArgument);
  CHECK(ShmRing::Create("test", SIZE_MAX, &second).code() == Code::kInvalidArgument);
}

TEST(NoFilesAreLeaked) {
  const int before = CountFiles();
  for (int i = 0; i < 10'000; ++i) {
    Pair pair = Open(4096);
    uint8_t byte = 1;
    CHECK_OK(pair.send->Send(1, &byte, 1, In(100)));
  }
  CHECK_EQ(CountFiles(), before);
}
