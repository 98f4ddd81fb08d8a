#include <cstdio>
#include <numeric>

#include "sharded_model.h"
#include "transport/transport.h"

// A group over UCX: two ranks with a transport each.
namespace skein::test {
namespace {

using transport::Transport;
using transport::TransportKind;

TEST(RanksComputeWhatOneDoesOverUcx) {
  Transport receiving(std::nullopt), sending(std::nullopt);
  const Link link = [&] {
    Ends ends;
    std::vector<uint8_t> descriptor;
    CHECK_OK(
        receiving.OpenReceive("group", TransportKind::kTcp, size_t{1} << 20, &ends.receive, &descriptor));
    CHECK_OK(sending.OpenSend("group", TransportKind::kTcp, descriptor,
                              Clock::now() + std::chrono::seconds(10), &ends.send));
    return ends;
  };
  const TinyShape shape{.heads = 8, .kv_heads = 4};
  const Split split{{1, 3}, {50, 26}, {7, 53}, {60, 37}};
  const TinyModel model(shape);
  const auto whole = model.Start(1);
  std::vector<ProgramSpec> specs;
  for (uint32_t r = 0; r < 2; ++r) specs.push_back(Shard(model.spec, shape, split, r));
  GroupRunners ranks(specs, link);
  CheckGeneration(*whole, ranks, shape.vocab);
  std::vector<int32_t> tokens(690, 5), blocks(44);
  std::iota(blocks.begin(), blocks.end(), 0);
  CheckStep(*whole, ranks, Pack({{tokens, 0, blocks}}, {{.token = 689}}), true);
}

}  // namespace
}  // namespace skein::test

int main(int argc, char** argv) {
  if (const skein::transport::Transport probe(std::nullopt); !probe.ucx_status().ok()) {
    std::printf("skipped: %s\n", probe.ucx_status().message().c_str());
    return 0;
  }
  return skein::test::RunAll(argc, argv);
}
