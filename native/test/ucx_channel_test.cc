#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "transport/byte_codec.h"
#include "transport/transport.h"
#include "transport/ucx_wire.h"
#include "ucx_peer.h"

using namespace skein;
using namespace skein::test;
using skein::transport::Transport;
using skein::transport::TransportKind;

namespace {

std::unique_ptr<Transport> NewTransport() { return std::make_unique<Transport>(std::nullopt); }

std::shared_ptr<ReceiveChannel> OpenReceive(Transport& transport, size_t capacity,
                                            std::vector<uint8_t>* descriptor) {
  std::shared_ptr<ReceiveChannel> channel;
  CHECK_OK(transport.OpenReceive("test", TransportKind::kTcp, capacity, &channel, descriptor));
  CHECK(descriptor->size() <= 4096);
  return channel;
}

std::shared_ptr<SendChannel> OpenSend(Transport& transport, const std::vector<uint8_t>& descriptor) {
  std::shared_ptr<SendChannel> channel;
  CHECK_OK(transport.OpenSend("test", TransportKind::kTcp, descriptor, In(10'000), &channel));
  return channel;
}

int CountFiles() {
  DIR* directory = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

int64_t ResidentBytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// Role: sends `count` stream messages, or 1 MiB messages forever when 0; then waits for the test to end it.
int SendRole(int count) {
  auto transport = NewTransport();
  const auto channel = OpenSend(*transport, ReadFrame(kPeerSocket));
  const std::vector<uint8_t> large(1 << 20);
  for (int i = 0; count == 0 || i < count; ++i) {
    const auto data = count == 0 ? large : StreamMessage(static_cast<uint32_t>(i));
    if (const Status status = channel->Send(static_cast<uint64_t>(i), data.data(), data.size(), In(20'000));
        !status.ok()) {
      WriteText(kPeerSocket, CodeText(status));
      return 0;
    }
  }
  WriteText(kPeerSocket, "sent");
  ReadFrame(kPeerSocket);
  return 0;
}

/// Role: opens a channel of 1 MiB and takes `count` messages, or all when negative; then waits for the test
/// to end it.
int ReceiveRole(int count) {
  auto transport = NewTransport();
  std::vector<uint8_t> descriptor;
  const auto channel = OpenReceive(*transport, 1 << 20, &descriptor);
  WriteFrame(kPeerSocket, descriptor);
  std::vector<uint8_t> buffer(8 << 20);
  uint64_t step;
  size_t size;
  for (int i = 0; count < 0 || i < count; ++i) {
    if (!channel->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000)).ok()) return 0;
  }
  WriteText(kPeerSocket, "received");
  ReadFrame(kPeerSocket);
  return 0;
}

}  // namespace

TEST(TwoProcessesOfAnySizes) {
  auto transport = NewTransport();
  std::vector<uint8_t> descriptor;
  const auto channel = OpenReceive(*transport, 1 << 20, &descriptor);
  Peer peer("send", {"300"});
  WriteFrame(peer.socket(), descriptor);
  std::vector<uint8_t> buffer(8 << 20);
  for (uint32_t i = 0; i < 300; ++i) {
    const auto expected = StreamMessage(i);
    uint64_t step = 0;
    size_t size = 0;
    CHECK_OK(channel->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000)));
    CHECK_EQ(step, uint64_t{i});
    CHECK_EQ(size, expected.size());
    CHECK(size == 0 || std::memcmp(buffer.data(), expected.data(), size) == 0);
  }
  CHECK_EQ(channel->counters().messages, uint64_t{300});
  CHECK_EQ(ReadText(peer.socket()), std::string("sent"));
  // The sender closes its end and leaves.
  WriteText(peer.socket(), "end");
  uint64_t step;
  size_t size;
  const auto start = Clock::now();
  CHECK_EQ(CodeText(channel->Receive(&step, buffer.data(), buffer.size(), &size, In(10'000))),
           std::string("peer lost"));
  CHECK(MillisecondsSince(start) < 5000);
}

TEST(KilledSenderIsReported) {
  for (const bool idle : {false, true}) {
    auto transport = NewTransport();
    std::vector<uint8_t> descriptor;
    const auto channel = OpenReceive(*transport, 1 << 20, &descriptor);
    Peer peer("send", {idle ? "5" : "0"});
    WriteFrame(peer.socket(), descriptor);
    std::vector<uint8_t> buffer(8 << 20);
    uint64_t step;
    size_t size;
    for (int i = 0; i < 5; ++i)
      CHECK_OK(channel->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000)));
    std::thread killer([&] {
      if (idle) std::this_thread::sleep_for(std::chrono::milliseconds(300));
      peer.Signal(SIGKILL);
    });
    const auto start = Clock::now();
    Status status;
    do status = channel->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000));
    while (status.ok());
    killer.join();
    std::printf("   killed %s sender reported after %ld ms: %s\n", idle ? "idle" : "busy",
                static_cast<long>(MillisecondsSince(start)), status.message().c_str());
    CHECK_EQ(CodeText(status), std::string("peer lost"));
    CHECK(MillisecondsSince(start) < 5000);
  }
}

TEST(KilledReceiverIsReported) {
  for (const int count : {-1, 0}) {  // in mid-transfer, and while the sender waits for credit
    auto transport = NewTransport();
    Peer peer("receive", {std::to_string(count)});
    const auto channel = OpenSend(*transport, ReadFrame(peer.socket()));
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      peer.Signal(SIGKILL);
    });
    const std::vector<uint8_t> data(1 << 20);
    const auto start = Clock::now();
    Status status;
    do status = channel->Send(1, data.data(), data.size(), In(20'000));
    while (status.ok());
    killer.join();
    std::printf("   killed receiver reported after %ld ms: %s\n",
                static_cast<long>(MillisecondsSince(start) - 500), status.message().c_str());
    CHECK_EQ(CodeText(status), std::string("peer lost"));
    CHECK(MillisecondsSince(start) < 5500);
    CHECK_EQ(CodeText(channel->Send(1, data.data(), 1, In(1000))), std::string("peer lost"));
  }
}

TEST(ReconnectsLeaveNothingBehind) {
  auto left = NewTransport();
  auto right = NewTransport();
  int files = 0;
  for (int i = 0; i < 50; ++i) {
    std::vector<uint8_t> descriptor;
    auto receive = OpenReceive(*right, 1 << 18, &descriptor);
    auto send = OpenSend(*left, descriptor);
    uint64_t word = static_cast<uint64_t>(i), step = 0;
    size_t size = 0;
    CHECK_OK(send->Send(7, &word, sizeof(word), In(5000)));
    word = 0;
    CHECK_OK(receive->Receive(&step, &word, sizeof(word), &size, In(5000)));
    CHECK_EQ(word, static_cast<uint64_t>(i));
    if (i % 2 == 0) {
      send.reset();
      CHECK_EQ(CodeText(receive->Receive(&step, &word, sizeof(word), &size, In(5000))),
               std::string("peer lost"));
    } else {
      receive.reset();
      Status status;
      do status = send->Send(8, &word, sizeof(word), In(5000));
      while (status.ok());
      CHECK_EQ(CodeText(status), std::string("peer lost"));
    }
    if (i == 10) files = CountFiles();
  }
  const auto give_up = In(5000);
  while (left->endpoint_count() + right->endpoint_count() > 0 && Clock::now() < give_up)
    std::this_thread::yield();
  CHECK_EQ(left->endpoint_count() + right->endpoint_count(), size_t{0});
  std::printf("   files %d, %d\n", files, CountFiles());
  CHECK(CountFiles() <= files + 4);
}

TEST(ChannelsOfOnePairEndAlone) {
  auto left = NewTransport();
  auto right = NewTransport();
  std::vector<std::shared_ptr<SendChannel>> sends;
  std::vector<std::shared_ptr<ReceiveChannel>> receives;
  for (int i = 0; i < 8; ++i) {
    std::vector<uint8_t> descriptor;
    receives.push_back(OpenReceive(i % 2 ? *left : *right, 1 << 18, &descriptor));
    sends.push_back(OpenSend(i % 2 ? *right : *left, descriptor));
  }
  const std::vector<uint8_t> data(200'000, 3);
  std::vector<uint8_t> buffer(data.size());
  for (const size_t ended : {3, 0, 5, 4, 7}) {
    ended % 3 == 0 ? sends[ended].reset() : receives[ended].reset();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    for (size_t i = 0; i < sends.size(); ++i) {
      if (sends[i] == nullptr || receives[i] == nullptr) continue;
      uint64_t step = 0;
      size_t size = 0;
      CHECK_OK(sends[i]->Send(i, data.data(), data.size(), In(5000)));
      CHECK_OK(receives[i]->Receive(&step, buffer.data(), buffer.size(), &size, In(5000)));
      CHECK(buffer == data && step == i);
    }
  }
}

TEST(StoppedPeerMeetsTheDeadline) {
  auto transport = NewTransport();
  Peer peer("receive", {"-1"});
  const auto descriptor = ReadFrame(peer.socket());
  auto channel = OpenSend(*transport, descriptor);
  peer.Signal(SIGSTOP);
  const std::vector<uint8_t> data(1 << 20);
  auto start = Clock::now();
  Status status;
  do status = channel->Send(1, data.data(), data.size(), In(1000));
  while (status.ok());
  CHECK_EQ(CodeText(status), std::string("deadline"));
  CHECK(MillisecondsSince(start) < 8000);
  start = Clock::now();
  channel.reset();
  CHECK(MillisecondsSince(start) < 500);
  std::shared_ptr<SendChannel> late;
  start = Clock::now();
  CHECK(!transport->OpenSend("late", TransportKind::kTcp, descriptor, In(500), &late).ok());
  CHECK(MillisecondsSince(start) < 2000);
  start = Clock::now();
  transport.reset();
  std::printf("   transport closed after %ld ms\n", static_cast<long>(MillisecondsSince(start)));
  CHECK(MillisecondsSince(start) < 3000);
}

TEST(SlowReceiverBoundsMemory) {
  auto transport = NewTransport();
  Peer peer("receive", {"0"});
  const auto channel = OpenSend(*transport, ReadFrame(peer.socket()));
  const int64_t peer_before = ResidentBytes(peer.pid()), before = ResidentBytes(getpid());
  const std::vector<uint8_t> data(8 << 20);
  int sent = 0;
  while (channel->Send(1, data.data(), 1 << 16, In(500)).ok()) ++sent;
  CHECK_EQ(sent, 16);  // the window: 1 MiB in pieces of 64 KiB
  for (int i = 0; i < 5; ++i)
    CHECK_EQ(CodeText(channel->Send(1, data.data(), data.size(), In(20))), std::string("deadline"));
  const int64_t peer_growth = ResidentBytes(peer.pid()) - peer_before,
                growth = ResidentBytes(getpid()) - before;
  std::printf("   resident bytes grew by %ld here, %ld at the receiver\n", static_cast<long>(growth),
              static_cast<long>(peer_growth));
  CHECK(peer_growth < 16 << 20);
  CHECK(growth < 16 << 20);
}

TEST(DeadPeerCannotBeConnected) {
  auto transport = NewTransport();
  std::vector<uint8_t> descriptor;
  {
    Peer peer("receive", {"0"});
    descriptor = ReadFrame(peer.socket());
  }
  std::shared_ptr<SendChannel> channel;
  const auto start = Clock::now();
  const Status status = transport->OpenSend("gone", TransportKind::kTcp, descriptor, In(3000), &channel);
  std::printf("   %ld ms: %s\n", static_cast<long>(MillisecondsSince(start)), status.message().c_str());
  CHECK(!status.ok());
  CHECK(MillisecondsSince(start) < 4000);
}

TEST(FailWakesABlockedOperation) {
  auto transport = NewTransport();
  std::vector<uint8_t> descriptor;
  const auto channel = OpenReceive(*transport, 1 << 20, &descriptor);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    channel->Fail("told so");
  });
  uint64_t step;
  size_t size;
  const auto start = Clock::now();
  const Status status = channel->Receive(&step, nullptr, 0, &size, In(20'000));
  other.join();
  CHECK_EQ(status.message(), std::string("told so"));
  CHECK(MillisecondsSince(start) < 5000);
}

TEST(TooLargeForTheBufferFails) {
  auto transport = NewTransport();
  std::vector<uint8_t> descriptor;
  const auto receive = OpenReceive(*transport, 1 << 20, &descriptor);
  const auto send = OpenSend(*transport, descriptor);
  uint8_t buffer[64] = {};
  uint64_t step;
  size_t size;
  CHECK_OK(send->Send(5, buffer, 64, In(1000)));
  CHECK(receive->Receive(&step, buffer, 63, &size, In(1000)).code() == Code::kInvalidArgument);
  CHECK(receive->Receive(&step, buffer, 64, &size, In(1000)).code() == Code::kPeerLost);
}

TEST(CorruptPiecesAreAnError) {
  using namespace skein::transport;
  const UcxApi* api = nullptr;
  CHECK_OK(LoadUcx(&api));
  std::shared_ptr<UcxWorker> worker;
  CHECK_OK(UcxWorker::Create(*api, std::nullopt, &worker));
  auto transport = NewTransport();
  std::mt19937_64 random(5);
  std::vector<uint8_t> buffer(1 << 20);
  for (int round = 0; round < 60; ++round) {
    std::vector<uint8_t> descriptor;
    const auto receive = OpenReceive(*transport, 1 << 18, &descriptor);
    UcxDescriptor peer;
    CHECK_OK(DecodeDescriptor(descriptor, &peer));
    const auto& address = worker->address();
    const UcxHello head{kHelloMagic,
                        {peer.nonce[0], peer.nonce[1]},
                        kUcxWireVersion,
                        static_cast<uint32_t>(address.size()),
                        Checksum(address.data(), address.size())};
    const auto hello = std::make_shared<std::vector<uint8_t>>(RecordBytes(head, address.size()));
    std::copy(address.begin(), address.end(), hello->begin() + sizeof(head));
    const bool bad_hello = round % 5 == 0;
    if (bad_hello) (*hello)[random() % hello->size()] ^= 1;
    UcxPiece piece{kPieceMagic, 0, 0, 1, 1000, 0, {}};
    uint64_t* const fields[] = {&piece.sequence, &piece.total, &piece.offset};
    if (round % 4 == 0) piece.magic ^= 1;
    if (round % 4 == 1) *fields[random() % 3] = random();
    const size_t count = round % 4 == 2 ? random() % 1000 : round % 4 == 3 ? 1 << 18 : 1000;
    const auto message = std::make_shared<std::vector<uint8_t>>(RecordBytes(piece, count));
    UcxEndpoint* endpoint = nullptr;
    {
      const auto lock = worker->Acquire();
      CHECK_OK(worker->Connect(peer.address.data(), [](const std::string&) {}, &endpoint));
      const auto ignore = [](ucs_status_t, size_t) {};
      worker->Send(endpoint, TagOf(peer.channel_id, TagKind::kHello), hello, hello->data(), hello->size(),
                   ignore);
      worker->Send(endpoint, TagOf(peer.channel_id, TagKind::kPiece), message, message->data(),
                   message->size(), ignore);
      worker->Disconnect(endpoint);
    }
    uint64_t step;
    size_t size;
    const Status status = receive->Receive(&step, buffer.data(), buffer.size(), &size, In(10'000));
    CHECK(!status.ok() && status.code() != Code::kDeadline);
  }
  worker->Close();
  CHECK(worker->WaitClosed(In(5000)));
}

TEST(DamagedDescriptorsAreRefused) {
  auto transport = NewTransport();
  std::vector<uint8_t> good;
  const auto receive = OpenReceive(*transport, 1 << 20, &good);
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    auto bad = good;
    if (i % 3 == 0) bad.resize(random() % (2 * bad.size()));
    // The ids in the head (bytes 24 to 48) are checked by the receiver.
    const size_t at = random() % good.size();
    if (at < bad.size() && (at < 20 || at >= 48)) bad[at] ^= static_cast<uint8_t>(1 + random() % 255);
    transport::UcxDescriptor decoded;
    const Status status = transport::DecodeDescriptor(bad, &decoded);
    CHECK(bad == good || (at >= 20 && at < 48) || status.code() == Code::kInvalidArgument);
  }
}

int main(int argc, char** argv) {
  if (argc >= 4 && std::string(argv[1]) == "--role")
    return std::string(argv[2]) == "send" ? SendRole(std::atoi(argv[3])) : ReceiveRole(std::atoi(argv[3]));
  if (const Transport probe(std::nullopt); !probe.ucx_status().ok()) {
    std::printf("skipped: %s\n", probe.ucx_status().message().c_str());
    return 0;
  }
  return RunAll(argc, argv);
}
