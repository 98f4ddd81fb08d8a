#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "op_backend.h"
#include "pipe.h"
#include "ranks.h"

namespace skein::test {
namespace {

void CheckAll(const std::vector<Status>& results) {
  for (const Status& status : results) CHECK_OK(status);
}

void ExpectFailure(const Status& status, Code code, const std::string& words) {
  CHECK_EQ(static_cast<int>(status.code()), static_cast<int>(code));
  if (status.message().find(words) == std::string::npos) CHECK_EQ(status.message(), words);
}

/// Random bits: what crosses must come out as it was, whatever floats it stands for.
void FillBits(TestMatrix* m, std::mt19937& random) {
  for (float& x : m->data) x = std::bit_cast<float>(static_cast<uint32_t>(random()));
}

TEST(AllGatherPutsUnevenPartsSideBySide) {
  std::mt19937 random(3);
  for (const std::vector<uint32_t>& widths :
       {std::vector<uint32_t>{5}, {3, 1}, {40, 90, 7}, {1, 300, 2, 64}}) {
    // Beyond one round with the last, in one run with one row, and no message at all.
    for (const size_t rows : {size_t{1}, size_t{3}, size_t{0}, size_t{kEmulated ? 300 : 900}}) {
      const auto size = static_cast<uint32_t>(widths.size());
      Ranks ranks(size);
      std::vector<TestMatrix> parts, outs;
      size_t width = 0;
      for (const uint32_t w : widths) {
        FillBits(&parts.emplace_back(rows, w), random);
        width += w;
      }
      for (uint32_t r = 0; r < size; ++r) outs.emplace_back(rows, width);
      CheckAll(ranks.Run([&](size_t r, Communicator& communicator) {
        return communicator.AllGather("allGather", parts[r].view(), widths, outs[r].view());
      }));
      for (const TestMatrix& out : outs) {
        for (size_t row = 0; row < rows; ++row) {
          const float* at = out.row(row);
          for (const TestMatrix& part : parts) {
            CHECK(std::memcmp(at, part.row(row), part.width * sizeof(float)) == 0);
            at += part.width;
          }
          CHECK(std::isnan(*at));  // the padding behind
        }
      }
    }
  }
}

/// Rank by rank, ((0+1)+(2+3))+...
float TreeSum(const std::vector<float>& values) {
  if (values.size() == 1) return values[0];
  const size_t half = std::bit_ceil(values.size()) / 2;
  const auto middle = values.begin() + static_cast<long>(half);
  return TreeSum({values.begin(), middle}) + TreeSum({middle, values.end()});
}

TEST(AllReduceAddsInATreeOverRanks) {
  std::mt19937 random(4);
  for (uint32_t size = 1; size <= 7; ++size) {
    for (const auto& [rows, width] : {std::pair<size_t, size_t>{1, 1024}, {3, 50}, {400, 301}}) {
      if (kEmulated && size > 4 && rows > 3) continue;
      Ranks ranks(size);
      std::vector<TestMatrix> parts, outs;
      for (uint32_t r = 0; r < size; ++r) {
        parts.emplace_back(rows, width, random);
        outs.emplace_back(rows, width);
      }
      // The last rank keeps no second matrix.
      const auto out = [&](size_t r) { return r + 1 == size ? parts[r].view() : outs[r].view(); };
      const std::vector<TestMatrix> before = parts;
      CheckAll(ranks.Run([&](size_t r, Communicator& communicator) {
        return communicator.AllReduce("allReduce", parts[r].view(), Reduction::kSum, out(r));
      }));
      for (size_t row = 0; row < rows; ++row) {
        for (size_t col = 0; col < width; ++col) {
          std::vector<float> values;
          for (const TestMatrix& part : before) values.push_back(part.row(row)[col]);
          for (uint32_t r = 0; r < size; ++r)
            CHECK_EQ(out(r).data[row * out(r).stride + col], TreeSum(values));
        }
      }
    }
  }
}

TEST(ReduceScatterKeepsTheColumnsOfEach) {
  std::mt19937 random(6);
  // Uneven, one rank without any, and more columns than a round holds.
  for (const std::vector<uint32_t>& widths :
       {std::vector<uint32_t>{7}, {5, 12}, {64, 0, 33}, {70'000, 3}, {9, 1, 8, 2}}) {
    for (const size_t rows : {size_t{1}, size_t{kEmulated ? 5 : 90}}) {
      if (widths[0] > 1000 && rows > 5) continue;
      const auto size = static_cast<uint32_t>(widths.size());
      const size_t width = std::accumulate(widths.begin(), widths.end(), size_t{0});
      Ranks ranks(size);
      std::vector<TestMatrix> parts, outs;
      for (uint32_t r = 0; r < size; ++r) {
        parts.emplace_back(rows, width, random);
        outs.emplace_back(rows, widths[r]);
      }
      const std::vector<TestMatrix> before = parts;
      // The last rank keeps no second matrix.
      const auto out = [&](size_t r) {
        return r + 1 == size ? parts[r].view().Columns(width - widths[r], widths[r]) : outs[r].view();
      };
      CheckAll(ranks.Run([&](size_t r, Communicator& communicator) {
        return communicator.ReduceScatter("reduceScatter", parts[r].view(), widths, Reduction::kSum, out(r));
      }));
      size_t first = 0;
      for (uint32_t r = 0; r < size; first += widths[r++]) {
        for (size_t row = 0; row < rows; ++row) {
          for (size_t col = 0; col < widths[r]; ++col) {
            std::vector<float> values;
            for (const TestMatrix& part : before) values.push_back(part.row(row)[first + col]);
            CHECK_EQ(out(r).data[row * out(r).stride + col], TreeSum(values));
          }
        }
      }
    }
  }
}

TEST(BroadcastFillsThoseOfAllOthers) {
  std::mt19937 random(8);
  for (const size_t rows : {size_t{0}, size_t{1}, size_t{700}}) {
    Ranks ranks(3);
    std::vector<TestMatrix> xs(3, TestMatrix(rows, 123));
    FillBits(&xs[1], random);
    const TestMatrix wanted = xs[1];
    CheckAll(ranks.Run([&](size_t r, Communicator& communicator) {
      return communicator.Broadcast("broadcast", 1, xs[r].view());
    }));
    for (const TestMatrix& x : xs)
      for (size_t row = 0; row < rows; ++row) CHECK(SameRow(x, row, wanted, row));
  }
}

TEST(PickTakesTheBitsOfTheOneThatHasAny) {
  std::mt19937 random(5);
  Ranks ranks(3);
  std::vector<TestMatrix> parts(3, TestMatrix(40, 33)), outs = parts;
  TestMatrix whole(40, 33);
  FillBits(&whole, random);
  for (TestMatrix& part : parts) std::fill(part.data.begin(), part.data.end(), 0.0f);
  for (size_t row = 0; row < 40; ++row) {
    // One row of four is nobody's.
    if (row % 4 < 3) {
      std::copy_n(whole.row(row), 33, parts[row % 4].row(row));
    } else {
      std::fill_n(whole.row(row), 33, 0.0f);
    }
  }
  CheckAll(ranks.Run([&](size_t r, Communicator& communicator) {
    return communicator.AllReduce("allReduce", parts[r].view(), Reduction::kPick, outs[r].view());
  }));
  for (const TestMatrix& out : outs)
    for (size_t row = 0; row < 40; ++row) CHECK(SameRow(out, row, whole, row));
}

TEST(AllToAllGivesEachItsOwn) {
  Ranks ranks(3);
  // Rank r has r * 10 + to for each other; rank 1 has nothing for rank 2.
  CheckAll(ranks.Run([&](size_t r, Communicator& communicator) {
    std::vector<float> mine(3), theirs(3, -1.0f);
    std::vector<Matrix> sends(3), receives(3);
    for (size_t other = 0; other < 3; ++other) {
      mine[other] = static_cast<float>(r * 10 + other);
      sends[other] = {&mine[other], r == 1 && other == 2 ? 0u : 1u, 1, 1};
      receives[other] = {&theirs[other], r == 2 && other == 1 ? 0u : 1u, 1, 1};
    }
    if (Status s = communicator.AllToAll("test", sends, receives); !s.ok()) return s;
    for (size_t other = 0; other < 3; ++other) {
      const bool none = other == r || (r == 2 && other == 1);
      CHECK_EQ(theirs[other], none ? -1.0f : static_cast<float>(other * 10 + r));
    }
    return Status::Ok();
  }));
}

TEST(ADeadlineNamesTheRanksThatWereSilent) {
  Ranks ranks(4);
  ranks.BeginStep(12, std::chrono::milliseconds(100));
  const std::vector<uint32_t> widths(4, 1);
  const auto results = ranks.Run([&](size_t r, Communicator& communicator) {
    float x = 0, out[4];
    if (r == 1 || r == 2) return Status::Ok();
    return communicator.AllGather("allGather", {&x, 1, 1, 1}, widths, {out, 1, 4, 4});
  });
  for (const size_t r : {0, 3}) {
    ExpectFailure(results[r], Code::kDeadline,
                  "allGather of group 'tp', exchange 1 of step 12: nothing came until the deadline from rank "
                  "1, 2");
  }
}

TEST(RanksAtDifferentExchangesAreNamed) {
  for (const uint32_t other_width : {1, 2}) {
    Ranks ranks(2);
    float x[2] = {}, out[4];
    const std::vector<uint32_t> ones(2, 1), widths(2, other_width);
    // Rank 1 has skipped one; its message may be larger too.
    ranks.at(1).BeginStep(8);
    const auto results = ranks.Run([&](size_t r, Communicator& communicator) {
      const uint32_t w = r == 0 ? 1 : other_width;
      return communicator.AllGather("allGather", {x, 1, w, w}, r == 0 ? ones : widths,
                                    {out, 1, 2 * w, 2 * w});
    });
    ExpectFailure(results[0], Code::kInternal,
                  "allGather of group 'tp', exchange 1 of step 7, rank 1: it is at exchange 1 of step 8");
    ExpectFailure(results[1], Code::kInternal, "rank 0: it is at exchange 1 of step 7");
  }
}

TEST(AnotherSizeIsNamed) {
  Ranks ranks(2);
  const auto results = ranks.Run([&](size_t r, Communicator& communicator) {
    float x[2] = {}, out[2];
    return communicator.AllReduce("allReduce", {x, 1, 1 + r, 1 + r}, Reduction::kSum, {out, 1, 1 + r, 1 + r});
  });
  ExpectFailure(results[0], Code::kInternal, "rank 1: it sent 8 bytes, 4 are expected");
  ExpectFailure(results[1], Code::kInternal, "rank 0: it sent 4 bytes, 8 are expected");
}

TEST(AnAbortEndsAWait) {
  Ranks ranks(2);
  const std::vector<uint32_t> widths(2, 1);
  float x = 0, out[2];
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    ranks.Cancel(0);
  });
  const Status status = ranks.at(0).AllGather("allGather", {&x, 1, 1, 1}, widths, {out, 1, 2, 2});
  other.join();
  ExpectFailure(status, Code::kAborted, "aborted");
}

TEST(ALostOrUnboundPeerIsNamed) {
  Ranks ranks(2);
  const std::vector<uint32_t> widths(2, 1);
  float x = 0, out[2];
  const auto gather = [&](size_t rank) {
    return ranks.at(rank).AllGather("allGather", {&x, 1, 1, 1}, widths, {out, 1, 2, 2});
  };
  const auto pipe = std::make_shared<Pipe>();
  ranks.channels(0).BindReceive("tp/1", pipe);
  pipe->Fail("rank 1 has left");
  ExpectFailure(gather(0), Code::kPeerLost, "exchange 1 of step 7, rank 1: rank 1 has left");
  ranks.channels(1).BindSend("tp/0", nullptr);
  ExpectFailure(gather(1), Code::kPeerLost, "rank 0: peer 'tp/0' is not bound to a channel");
}

}  // namespace
}  // namespace skein::test
