#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "transport/transport.h"
#include "ucx_peer.h"

using namespace skein;
using namespace skein::test;
using skein::transport::Transport;
using skein::transport::TransportKind;

namespace {

constexpr int kMessages = 20;
constexpr size_t kMessageBytes = 1 << 20;

int Run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

/// Two network namespaces, `<id>a` and `<id>b`, joined by a veth pair whose ends are both called `link0`.
class TwoHosts {
 public:
  TwoHosts() : id_("skt" + std::to_string(getpid())) {
    const std::string pair = "ip netns add " + a() + " && ip netns add " + b() +
                             " && ip link add link0 netns " + a() + " type veth peer name link0 netns " + b();
    ok_ = Run(pair) == 0;
    for (const auto& [netns, address] : {std::pair{a(), "10.231.7.1/24"}, {b(), "10.231.7.2/24"}})
      ok_ = ok_ && Run("ip -n " + netns + " addr add " + address + " dev link0 && ip -n " + netns +
                       " link set link0 up && ip -n " + netns + " link set lo up") == 0;
    // The carrier comes a moment later, and UCX takes only interfaces that run.
    const auto give_up = In(10'000);
    for (const std::string& netns : {a(), b()})
      while (ok_ && Run("ip netns exec " + netns + " grep -q up /sys/class/net/link0/operstate") != 0) {
        ok_ = Clock::now() < give_up;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
  }
  ~TwoHosts() {
    Run("ip netns del " + a());
    Run("ip netns del " + b());
  }
  bool ok() const { return ok_; }
  std::string a() const { return id_ + "a"; }
  std::string b() const { return id_ + "b"; }
  uint64_t LinkBytes() const {
    FILE* file =
        popen(("ip netns exec " + a() + " cat /sys/class/net/link0/statistics/rx_bytes").c_str(), "r");
    unsigned long bytes = 0;
    CHECK_EQ(std::fscanf(file, "%lu", &bytes), 1);
    pclose(file);
    return bytes;
  }
  void Cut() const { CHECK_EQ(Run("ip -n " + a() + " link set link0 down"), 0); }

 private:
  const std::string id_;
  bool ok_ = false;
};

std::string Outcome(const Status& status, Deadline start) {
  return CodeText(status) + " after " + std::to_string(MillisecondsSince(start) / 1000) + " s";
}

/// Role: takes the messages, then says how a receive with a deadline of three seconds ended.
int ReceiveRole() {
  auto transport = std::make_unique<Transport>("link0");
  std::shared_ptr<ReceiveChannel> channel;
  std::vector<uint8_t> descriptor;
  CHECK_OK(transport->OpenReceive("test", TransportKind::kTcp, 1 << 20, &channel, &descriptor));
  WriteFrame(kPeerSocket, descriptor);
  std::vector<uint8_t> buffer(kMessageBytes);
  uint64_t step;
  size_t size;
  for (int i = 0; i < kMessages; ++i)
    CHECK_OK(channel->Receive(&step, buffer.data(), buffer.size(), &size, In(20'000)));
  WriteText(kPeerSocket, "received");
  ReadFrame(kPeerSocket);
  const auto start = Clock::now();
  const Status status = channel->Receive(&step, buffer.data(), buffer.size(), &size, In(3000));
  WriteText(kPeerSocket, Outcome(status, start));
  ReadFrame(kPeerSocket);
  return 0;
}

/// Role: sends the messages, then says how sends with a deadline of three seconds ended, and closing.
int SendRole() {
  auto transport = std::make_unique<Transport>("link0");
  std::shared_ptr<SendChannel> channel;
  CHECK_OK(transport->OpenSend("test", TransportKind::kTcp, ReadFrame(kPeerSocket), In(10'000), &channel));
  const std::vector<uint8_t> data(kMessageBytes, 7);
  for (int i = 0; i < kMessages; ++i) CHECK_OK(channel->Send(1, data.data(), data.size(), In(20'000)));
  WriteText(kPeerSocket, "sent");
  ReadFrame(kPeerSocket);
  auto start = Clock::now();
  Status status;
  do status = channel->Send(1, data.data(), data.size(), In(3000));
  while (status.ok());
  WriteText(kPeerSocket, Outcome(status, start));
  start = Clock::now();
  channel.reset();
  transport.reset();
  WriteText(kPeerSocket, MillisecondsSince(start) < 3000 ? "closed" : "close was late");
  ReadFrame(kPeerSocket);
  return 0;
}

}  // namespace

TEST(TwoHostsOverOneLink) {
  const TwoHosts hosts;
  if (!hosts.ok()) {
    std::printf("   skipped: no network namespaces (needs root and iproute2)\n");
    return;
  }
  Peer receiver("receive", {}, hosts.a());
  const uint64_t before = hosts.LinkBytes();
  Peer sender("send", {}, hosts.b());
  WriteFrame(sender.socket(), ReadFrame(receiver.socket()));
  CHECK_EQ(ReadText(sender.socket()), std::string("sent"));
  CHECK_EQ(ReadText(receiver.socket()), std::string("received"));
  const uint64_t crossed = hosts.LinkBytes() - before;
  std::printf("   %lu bytes crossed the link for %zu\n", static_cast<unsigned long>(crossed),
              kMessages * kMessageBytes);
  CHECK(crossed > kMessages * kMessageBytes);

  hosts.Cut();
  WriteText(sender.socket(), "go");
  WriteText(receiver.socket(), "go");
  const std::string sent = ReadText(sender.socket()), received = ReadText(receiver.socket());
  std::printf("   link down: send: %s; receive: %s\n", sent.c_str(), received.c_str());
  for (const std::string& outcome : {sent, received}) {
    CHECK(outcome.rfind("deadline", 0) == 0 || outcome.rfind("peer lost", 0) == 0);
    CHECK(std::atoi(outcome.substr(outcome.find("after") + 6).c_str()) <= 4);
  }
  CHECK_EQ(ReadText(sender.socket()), std::string("closed"));
}

TEST(UnknownInterfaceIsAReason) {
  const Transport transport("nosuch0");
  CHECK(transport.ucx_status().code() == Code::kUnavailable);
  CHECK(transport.ucx_status().message().find("nosuch0") != std::string::npos);
}

int main(int argc, char** argv) {
  if (argc >= 3 && std::string(argv[1]) == "--role")
    return std::string(argv[2]) == "send" ? SendRole() : ReceiveRole();
  if (const Transport probe(std::nullopt); !probe.ucx_status().ok()) {
    std::printf("skipped: %s\n", probe.ucx_status().message().c_str());
    return 0;
  }
  return RunAll(argc, argv);
}
