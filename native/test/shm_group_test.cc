#include <future>
#include <numeric>
#include <thread>

#include "sharded_model.h"
#include "transport/shm_channel.h"

// Groups over rings in shared memory: what they compute, and how a rank's end ends the others' waiting.
namespace skein::test {
namespace {

using transport::ShmReceiveChannel;
using transport::ShmRing;
using transport::ShmSendChannel;

constexpr size_t kRingBytes = size_t{1} << 20;

Ends LinkRing() {
  std::unique_ptr<ShmRing> made, opened;
  CHECK_OK(ShmRing::Create("group", kRingBytes, &made));
  CHECK_OK(ShmRing::Open("group", made->descriptor(), &opened));
  return {std::make_shared<ShmSendChannel>("group", std::move(opened)),
          std::make_shared<ShmReceiveChannel>("group", std::move(made))};
}

const TinyShape kShape{.heads = 8, .kv_heads = 4};
const Split kThree{{1, 2, 1}, {10, 33, 33}, {20, 1, 39}, {1, 95, 1}};

std::vector<ProgramSpec> Shards(const TinyModel& model) {
  std::vector<ProgramSpec> specs;
  for (uint32_t r = 0; r < kThree.size(); ++r) specs.push_back(Shard(model.spec, kShape, kThree, r));
  return specs;
}

TEST(RanksComputeWhatOneDoesOverRings) {
  const TinyModel model(kShape);
  const auto whole = model.Start(1);
  GroupRunners ranks(Shards(model), LinkRing);
  CheckGeneration(*whole, ranks, kShape.vocab);
  // Values that take several rounds.
  std::vector<int32_t> tokens(690), blocks(44);
  std::iota(blocks.begin(), blocks.end(), 0);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 31 % kShape.vocab);
  CheckStep(*whole, ranks, Pack({{tokens, 0, blocks}}, {{.token = 689}}), true);
}

// Every rank runs ahead of the others for as long as the rings let it.
TEST(ManyExchangesOfAnySizeNeverBlockForEver) {
  Ranks ranks(3, LinkRing);
  const auto results = ranks.Run([&](size_t r, Communicator& communicator) {
    std::minstd_rand random(5), pace(static_cast<uint32_t>(r + 1));
    std::vector<float> x(size_t{200} * 500), out(x.size() * 3);
    for (int i = 0; i < (kEmulated ? 30 : 200); ++i) {
      const size_t rows = 1 + random() % (i % 7 == 0 ? 200 : 4);
      const auto width_of = [&](uint32_t most) { return 1 + static_cast<uint32_t>(random() % most); };
      const std::vector<uint32_t> widths = {width_of(500), width_of(20), width_of(500)};
      const size_t width = widths[0] + widths[1] + widths[2];
      std::fill_n(x.begin(), rows * widths[r], static_cast<float>(100 * i + static_cast<int>(r)));
      if (pace() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(pace() % 300));
      const Matrix mine{x.data(), rows, widths[r], widths[r]}, all{out.data(), rows, width, width};
      if (Status s = communicator.AllGather("allGather", mine, widths, all); !s.ok()) return s;
      for (size_t at = 0; at < rows * width; ++at) {
        const size_t col = at % width;
        const int from = col < widths[0] ? 0 : col < widths[0] + widths[1] ? 1 : 2;
        CHECK_EQ(out[at], static_cast<float>(100 * i + from));
      }
    }
    return Status::Ok();
  });
  for (const Status& status : results) CHECK_OK(status);
}

TEST(ARankThatEndsEndsTheOthersWait) {
  const TinyModel model(kShape);
  const std::vector<int32_t> words = Pack({{{1, 2, 3}, 0, {0}}}, {{.token = 2}});
  for (const bool aborted : {false, true}) {
    GroupRunners ranks(Shards(model), LinkRing);
    std::vector<std::promise<Status>> done(2);
    for (size_t r = 0; r < 2; ++r) {
      ranks.at(r).Run(words, std::chrono::hours(1),
                      [&, r](Status s, StepResult) { done[r].set_value(std::move(s)); });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (aborted) {
      for (size_t r = 0; r < 2; ++r) ranks.at(r).Abort();
    } else {
      ranks.at(2).Close();
    }
    for (auto& promise : done) {
      const Status status = promise.get_future().get();
      CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(aborted ? Code::kAborted : Code::kPeerLost));
      if (aborted) continue;
      CHECK(status.message().find("allReduce of group 'tp', exchange 1 of step 0") != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace skein::test
