#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "levels.h"
#include "pipe.h"
#include "tiny_model.h"

namespace skein::test {
namespace {

std::vector<int32_t> Tokens(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(n);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % 97);
  return tokens;
}

std::vector<int32_t> Blocks(int32_t first, size_t n) {
  std::vector<int32_t> blocks(n);
  for (size_t i = 0; i < n; ++i) blocks[i] = first + static_cast<int32_t>(i);
  return blocks;
}

// The promise all of the engine stands on: the same bits alone, in a batch, in chunks, with one thread or
// several.
TEST(LogitsAreTheSameHoweverTheyAreComputed) {
  ForEachLevel([] {
    for (const auto& [weights, cache] : {std::pair{Dtype::kBF16, KVCacheDtype::kBF16},
                                         {Dtype::kF16, KVCacheDtype::kF32},
                                         {Dtype::kBF16, KVCacheDtype::kI8}}) {
      const TinyModel model({.heads = kEmulated ? 3u : 6u,
                             .kv_heads = kEmulated ? 1u : 2u,
                             .weights = weights,
                             .cache = cache});
      const auto one = model.Start(1);
      const auto two = model.Start(2);
      // Beyond a split of attention.
      constexpr size_t kLength = kEmulated ? 530 : 600;
      const std::vector<int32_t> tokens = Tokens(kLength, 1);
      const auto last = [&](int32_t token) { return std::vector<Row>{{.token = token}}; };
      const std::vector<float> alone = Logits(*one, Pack({{tokens, 0, Blocks(0, 38)}}, last(kLength - 1)));
      CHECK(Logits(*two, Pack({{tokens, 0, Blocks(0, 38)}}, last(kLength - 1))) == alone);
      for (const auto& [runner, chunk] :
           {std::pair<Runner*, size_t>{one.get(), 77}, {two.get(), 130}, {two.get(), kLength - 1}}) {
        std::vector<float> chunked;
        for (size_t at = 0; at < kLength; at += chunk) {
          const size_t n = std::min(chunk, kLength - at);
          const std::vector<int32_t> part(tokens.begin() + static_cast<long>(at),
                                          tokens.begin() + static_cast<long>(at + n));
          // Beside it: other sequences, before and after.
          std::vector<Sequence> batch(at % 3, Sequence{Tokens(9, 2), 0, {60}});
          const auto row = static_cast<int32_t>(9 * batch.size() + n - 1);
          batch.push_back({part, static_cast<int32_t>(at), Blocks(0, 38)});
          for (size_t i = 0; i < at % 7; ++i) batch.push_back({{1}, 3, {static_cast<int32_t>(70 + i)}});
          chunked = Logits(*runner, Pack(batch, last(row)));
        }
        CHECK(chunked == alone);
      }
    }
  });
}

TEST(ARowIsTheSameInBatchesOf1To64) {
  const TinyModel model({});
  const auto runner = model.Start(2);
  const auto step = [](size_t n) {
    std::vector<Sequence> batch;
    std::vector<Row> rows;
    for (size_t i = 0; i < n; ++i) {
      batch.push_back({{static_cast<int32_t>(i)}, 0, {static_cast<int32_t>(i)}});
      rows.push_back({.token = static_cast<int32_t>(i)});
    }
    return Pack(batch, rows);
  };
  const std::vector<float> all = Logits(*runner, step(64));
  for (size_t n = 1; n < 64; n += kEmulated && n >= 8 ? 11 : 1) {
    const std::vector<float> some = Logits(*runner, step(n));
    CHECK(std::equal(some.begin(), some.end(), all.begin()));
  }
}

// Logits that no row needs whole are never written, and the ids are the same.
TEST(IdsAreTheSameWhetherLogitsAreKept) {
  ForEachLevel([] {
    const TinyModel model({.vocab = 1500});
    const auto one = model.Start(1);
    const auto three = model.Start(3);
    // A step whose tokens are all followed by known ones.
    CHECK_OK(RunStep(*three, Pack({{Tokens(9, 5), 0, Blocks(0, 1)}}, {})));
    for (const size_t n : {1, 7, 60}) {
      std::vector<Row> rows;
      for (size_t i = 0; i < n; ++i) {
        const float temperature = i % 3 == 0 ? 0.0f : i % 3 == 1 ? 0.7f : 3.0f;
        rows.push_back({.token = static_cast<int32_t>(i),
                        .target = i % 11 == 5 ? 7 : -1,
                        .temperature = temperature,
                        .num_logprobs = i % 13 == 6 ? 3 : -1,
                        .top_k = i % 5 == 2   ? 3
                                 : i % 5 == 3 ? 64
                                 : i % 5 == 4 ? 300
                                              : 0,
                        .top_p = i % 7 == 3 ? 0.8f : 1.0f});
      }
      const std::vector<int32_t> words = Pack({{Tokens(n, 5), 0, Blocks(0, 4)}}, rows);
      std::vector<int32_t> kept, fused, alone;
      three->KeepLogits(true);
      CHECK_OK(RunStep(*three, words, &kept));
      std::vector<float> logits;
      CHECK(three->CopyLogits(&logits));
      three->KeepLogits(false);
      CHECK_OK(RunStep(*three, words, &fused));
      CHECK(!three->CopyLogits(&logits));
      CHECK_OK(RunStep(*one, words, &alone));
      CHECK(fused == kept);
      CHECK(alone == kept);
    }
  });
}

TEST(AbortAndCloseAnswerEveryCall) {
  const TinyModel model({});
  for (int round = 0; round < (kEmulated ? 4 : 10); ++round) {
    auto runner = model.Start(2);
    std::atomic<int> answered{0};
    const std::vector<int32_t> words = Pack({{Tokens(500, 3), 0, Blocks(0, 32)}}, {{.token = 499}});
    for (int i = 0; i < 70; ++i) {
      runner->Run(words, std::chrono::seconds(10), [&](Status, StepResult) { ++answered; });
    }
    std::thread other([&] { runner->Abort(); });
    if (round % 2 == 0) runner->Close();
    other.join();
    if (round % 2 == 1) CHECK_OK(RunStep(*runner, words));
    runner->Close();
    runner->Close();
    CHECK_EQ(answered.load(), 70);
    CHECK_EQ(static_cast<int>(RunStep(*runner, words).code()), static_cast<int>(Code::kAborted));
  }
}

/// Takes nothing until it is failed.
struct FullPipe : SendChannel {
  std::mutex mutex;
  std::condition_variable wake;
  bool blocked = false, failed = false;
  Status Send(uint64_t, const void*, size_t, Deadline deadline) override {
    std::unique_lock lock(mutex);
    blocked = true;
    wake.notify_all();
    if (wake.wait_until(lock, deadline, [&] { return failed; })) return {Code::kPeerLost, "failed"};
    return {Code::kDeadline, "full"};
  }
  void Fail(const std::string&) override {
    std::lock_guard lock(mutex);
    failed = true;
    wake.notify_all();
  }
  ChannelCounters counters() const override { return {}; }
};

/// The model cut after op `cut` into two stages, with tokens fed back.
std::pair<ProgramSpec, ProgramSpec> Cut(const ProgramSpec& whole, size_t cut) {
  ProgramSpec first = whole, second = whole;
  const int64_t crossing = whole.ops[cut].out;
  first.ops.resize(cut + 1);
  first.ops.insert(first.ops.begin(), Op{.kind = OpKind::kRecvTokens});
  first.ops.front().peer = "last";
  first.ops.push_back({.kind = OpKind::kSend, .inputs = {crossing, -1, -1}});
  first.ops.back().width = 60;
  first.ops.back().peer = "next";
  second.ops.erase(second.ops.begin(), second.ops.begin() + static_cast<long>(cut) + 1);
  Op recv{.kind = OpKind::kRecv};
  recv.out = crossing;
  recv.width = 60;
  recv.peer = "previous";
  second.ops.insert(second.ops.begin(), recv);
  second.ops.push_back({.kind = OpKind::kSendTokens});
  second.ops.back().peer = "first";
  return {first, second};
}

TEST(TwoStagesComputeWhatOneDoes) {
  TinyModel model({});
  const auto whole = model.Start(1);
  // The residual after the first layer: the second add.
  size_t cut = 0;
  for (int adds = 0; adds < 2; ++cut) adds += model.spec.ops[cut].kind == OpKind::kAdd;
  const auto [first_spec, second_spec] = Cut(model.spec, cut - 1);
  const ProgramSpec saved = model.spec;
  model.spec = first_spec;
  const auto first = model.Start(2);
  model.spec = second_spec;
  const auto second = model.Start(2);
  auto forward = std::make_shared<Pipe>(), back = std::make_shared<Pipe>();
  first->BindSend("next", forward);
  second->BindReceive("previous", forward);
  second->BindSend("first", back);
  first->BindReceive("last", back);

  std::vector<int32_t> staged_output, whole_output;
  for (int32_t step = 0; step < 6; ++step) {
    const int32_t computed = step == 0 ? 0 : 9 + step;
    const std::vector<int32_t> ids = step == 0 ? Tokens(10, 4) : std::vector<int32_t>{-1 - 3};
    std::vector<int32_t> words =
        Pack({{ids, computed, {5}}}, {{.token = static_cast<int32_t>(ids.size()) - 1, .slot = 3}});
    words[2] = step;
    words[9] = step - 1;
    words[10] = step == 0 ? -1 : 0;
    CHECK_OK(RunStep(*whole, words, &whole_output));
    std::promise<Status> sent;
    first->Run(words, std::chrono::seconds(10), [&](Status s, StepResult) { sent.set_value(std::move(s)); });
    CHECK_OK(RunStep(*second, words, &staged_output));
    CHECK_OK(sent.get_future().get());
    CHECK(staged_output == whole_output);
  }

  // A message of another step is refused, by number.
  forward->messages.push_back({99, std::string(60 * 4, '\0')});
  const std::vector<int32_t> words = Pack({{{1}, 0, {5}}}, {});
  const Status wrong = RunStep(*second, words);
  CHECK_EQ(static_cast<int>(wrong.code()), static_cast<int>(Code::kInternal));
  CHECK(wrong.message().find("99") != std::string::npos);
  // Nothing comes: the deadline ends the wait, and so does an abort.
  std::promise<Status> done;
  second->Run(words, std::chrono::milliseconds(30),
              [&](Status s, StepResult) { done.set_value(std::move(s)); });
  CHECK_EQ(static_cast<int>(done.get_future().get().code()), static_cast<int>(Code::kDeadline));
  std::promise<Status> aborted;
  second->Run(words, std::chrono::hours(1), [&](Status s, StepResult) { aborted.set_value(std::move(s)); });
  second->Abort();
  CHECK_EQ(static_cast<int>(aborted.get_future().get().code()), static_cast<int>(Code::kAborted));
  model.spec = saved;
}

TEST(CloseEndsABlockedSend) {
  TinyModel model({});
  model.spec.ops.resize(1);
  model.spec.ops.push_back({.kind = OpKind::kSend, .inputs = {0, -1, -1}, .width = 60});
  model.spec.ops.back().peer = "next";
  const auto runner = model.Start(1);
  const auto full = std::make_shared<FullPipe>();
  runner->BindSend("next", full);
  std::promise<Status> done;
  runner->Run(Pack({{{1}, 0, {0}}}, {}), std::chrono::hours(1),
              [&](Status s, StepResult) { done.set_value(std::move(s)); });
  {
    std::unique_lock lock(full->mutex);
    full->wake.wait(lock, [&] { return full->blocked; });
  }
  runner->Close();
  CHECK(!done.get_future().get().ok());
}

TEST(AnUnwrittenFeedbackSlotIsRefused) {
  const TinyModel model({});
  const auto runner = model.Start(1);
  const Status status = RunStep(*runner, Pack({{{-1 - 4}, 0, {0}}}, {{.token = 0}}));
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(Code::kStepInput));
  CHECK(status.message().find("slot 4") != std::string::npos);
}

}  // namespace
}  // namespace skein::test
