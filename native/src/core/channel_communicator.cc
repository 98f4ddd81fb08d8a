#include "core/channel_communicator.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

namespace skein {
namespace {

/// Low bits of a message's number: which exchange of the step it is. The others are the step's.
constexpr int kExchangeBits = 20;
constexpr uint64_t kExchangeMask = (uint64_t{1} << kExchangeBits) - 1;

/// Elements [first, first + count) of a matrix, row by row, where they are neighbours in memory; else null.
float* RunOf(const Matrix& m, size_t first, size_t count) {
  const size_t row = first / m.width, col = first % m.width;
  const bool neighbours = m.stride == m.width || col + count <= m.width;
  return neighbours ? m.data + row * m.stride + col : nullptr;
}

/// Calls copy(in the matrix, index of the first, count) for each row's share of the same elements.
template <typename Copy>
void ForRuns(const Matrix& m, size_t first, size_t count, const Copy& copy) {
  for (size_t done = 0; done < count;) {
    const size_t row = (first + done) / m.width, col = (first + done) % m.width;
    const size_t n = std::min(count - done, m.width - col);
    copy(m.data + row * m.stride + col, done, n);
    done += n;
  }
}

void CopyFrom(const Matrix& m, size_t first, size_t count, float* to) {
  ForRuns(m, first, count,
          [&](const float* run, size_t at, size_t n) { std::memcpy(to + at, run, n * sizeof(float)); });
}

void CopyTo(const Matrix& m, size_t first, size_t count, const float* from) {
  ForRuns(m, first, count,
          [&](float* run, size_t at, size_t n) { std::memcpy(run, from + at, n * sizeof(float)); });
}

bool Same(const Matrix& a, const Matrix& b) {
  return a.data == b.data && a.rows == b.rows && a.width == b.width && a.stride == b.stride;
}

void Combine(Reduction reduction, const float* a, const float* b, size_t count, float* out) {
  if (reduction == Reduction::kSum) {
    for (size_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
    return;
  }
  for (size_t i = 0; i < count; ++i)
    out[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(a[i]) | std::bit_cast<uint32_t>(b[i]));
}

std::string ExchangeText(uint64_t tag) {
  return "exchange " + std::to_string(tag & kExchangeMask) + " of step " +
         std::to_string(tag >> kExchangeBits);
}

}  // namespace

ChannelCommunicator::ChannelCommunicator(const RankGroup& group, PeerChannels* channels)
    : name_(group.name),
      rank_(group.rank),
      channels_(*channels),
      sends_(group.size),
      receives_(group.size),
      parts_(group.size),
      shares_(group.size) {
  for (uint32_t r = 0; r < group.size; ++r) peers_.push_back(PeerOf(group.name, r));
}

Status ChannelCommunicator::Create(const RankGroup& group, PeerChannels* channels,
                                   std::unique_ptr<Communicator>* out) {
  std::unique_ptr<ChannelCommunicator> made(new ChannelCommunicator(group, channels));
  // Takes no memory until it is used.
  if (Status s = MappedMemory::Allocate((size_t{group.size} + 1) * kRoundBytes, &made->room_); !s.ok())
    return s;
  *out = std::move(made);
  return Status::Ok();
}

void ChannelCommunicator::BeginStep(uint64_t step) {
  step_ = step;
  exchange_ = 0;
}

uint64_t ChannelCommunicator::Tag() const { return step_ << kExchangeBits | (exchange_ & kExchangeMask); }

std::string ChannelCommunicator::Where() const {
  return std::string(op_) + " of group '" + name_ + "', " + ExchangeText(Tag());
}

Status ChannelCommunicator::Explain(const Status& status, size_t from) const {
  if (status.code() == Code::kAborted) return status;
  return {status.code(), Where() + ", rank " + std::to_string(from) + ": " + status.message()};
}

Status ChannelCommunicator::AllToAll(const char* op, std::span<const Matrix> sends,
                                     std::span<const Matrix> receives) {
  op_ = op;
  ++exchange_;
  size_t most = 0;
  for (size_t r = 0; r < size(); ++r) {
    if (r != rank_) most = std::max({most, sends[r].elements(), receives[r].elements()});
  }
  for (size_t first = 0; first < most; first += kRoundFloats) {
    packed_ = {};
    // Each begins with its neighbour, so that not all write to the same rank at once.
    for (size_t i = 1; i < size(); ++i) {
      const size_t to = (rank_ + i) % size();
      if (Status s = SendRound(to, sends[to], first); !s.ok()) return s;
    }
    for (size_t i = 1; i < size(); ++i) {
      const size_t from = (rank_ + size() - i) % size();
      if (Status s = ReceiveRound(from, receives, first); !s.ok()) return s;
    }
  }
  return Status::Ok();
}

Status ChannelCommunicator::SendRound(size_t to, const Matrix& x, size_t first) {
  if (first >= x.elements()) return Status::Ok();
  const size_t count = std::min(kRoundFloats, x.elements() - first);
  const float* data = RunOf(x, first, count);
  if (data == nullptr) {
    // The same for all, mostly.
    if (!Same(packed_, x)) CopyFrom(x, first, count, Room(size()));
    packed_ = x;
    data = Room(size());
  }
  const Status status = channels_.Send(peers_[to], Tag(), data, count * sizeof(float));
  return status.ok() ? status : Explain(status, to);
}

Status ChannelCommunicator::ReceiveRound(size_t from, std::span<const Matrix> receives, size_t first) {
  const Matrix& out = receives[from];
  if (first >= out.elements()) return Status::Ok();
  const size_t count = std::min(kRoundFloats, out.elements() - first), want = count * sizeof(float);
  float* run = RunOf(out, first, count);
  float* to = run != nullptr ? run : Room(size());
  uint64_t tag = Tag();
  size_t got = want;
  Status status = channels_.Receive(peers_[from], &tag, to, want, &got);
  if (tag != Tag()) {
    status = {Code::kInternal, "it is at " + ExchangeText(tag)};
  } else if (got != want) {
    status = {Code::kInternal,
              "it sent " + std::to_string(got) + " bytes, " + std::to_string(want) + " are expected"};
  } else if (status.code() == Code::kDeadline) {
    std::string silent;
    for (size_t r = 0; r < size(); ++r) {
      if (r != rank_ && first < receives[r].elements() && !channels_.HasMessage(peers_[r]))
        silent += (silent.empty() ? "" : ", ") + std::to_string(r);
    }
    return {Code::kDeadline, Where() + ": nothing came until the deadline from rank " + silent};
  }
  if (!status.ok()) return Explain(status, from);
  if (run == nullptr) CopyTo(out, first, count, to);
  return status;
}

Status ChannelCommunicator::AllGather(const char* op, Matrix x, std::span<const uint32_t> widths,
                                      Matrix out) {
  size_t col = 0;
  for (size_t r = 0; r < size(); col += widths[r++]) {
    sends_[r] = x;
    receives_[r] = out.Columns(col, widths[r]);
  }
  const Matrix& own = receives_[rank_];
  if (own.data != x.data) {
    for (size_t r = 0; r < x.rows; ++r)
      std::memcpy(own.data + r * own.stride, x.data + r * x.stride, x.width * sizeof(float));
  }
  return AllToAll(op, sends_, receives_);
}

Status ChannelCommunicator::AllReduce(const char* op, Matrix x, Reduction reduction, Matrix out) {
  for (size_t first = 0; first < x.elements(); first += kRoundFloats) {
    const size_t count = std::min(kRoundFloats, x.elements() - first);
    float* own = RunOf(x, first, count);
    if (own == nullptr) {
      own = Room(rank_);
      CopyFrom(x, first, count, own);
    }
    float* run = RunOf(out, first, count);
    const Matrix values{own, 1, count, count}, reduced{run != nullptr ? run : Room(size()), 1, count, count};
    if (size() > 2 && count >= kSharedFloats) {
      for (size_t r = 0; r < size(); ++r)
        shares_[r] = static_cast<uint32_t>(count * (r + 1) / size() - count * r / size());
      const Matrix share = reduced.Columns(ColumnsBefore(shares_, rank_), shares_[rank_]);
      if (Status s = ReduceScatter(op, values, shares_, reduction, share); !s.ok()) return s;
      if (Status s = AllGather(op, share, shares_, reduced); !s.ok()) return s;
    } else {
      std::fill(sends_.begin(), sends_.end(), values);
      if (Status s = ReduceParts(op, reduction, reduced); !s.ok()) return s;
    }
    if (run == nullptr) CopyTo(out, first, count, reduced.data);
  }
  return Status::Ok();
}

Status ChannelCommunicator::ReduceScatter(const char* op, Matrix x, std::span<const uint32_t> widths,
                                          Reduction reduction, Matrix out) {
  // All ranks take as many rows at once, and one row where that alone is more than a round.
  const size_t widest = *std::max_element(widths.begin(), widths.end());
  const size_t rows_max = std::max<size_t>(1, kRoundFloats / std::max<size_t>(1, widest));
  for (size_t row = 0; row < x.rows; row += rows_max) {
    const size_t rows = std::min(rows_max, x.rows - row);
    for (size_t first = 0; first < widest; first += kRoundFloats) {
      size_t col = 0;
      for (size_t r = 0; r < size(); col += widths[r++]) {
        const size_t begin = std::min<size_t>(first, widths[r]);
        sends_[r] =
            x.Rows(row, rows).Columns(col + begin, std::min<size_t>(kRoundFloats, widths[r] - begin));
      }
      const size_t begin = std::min(first, out.width);
      const Matrix part =
          out.Rows(row, rows).Columns(begin, std::min<size_t>(kRoundFloats, out.width - begin));
      if (Status s = ReduceParts(op, reduction, part); !s.ok()) return s;
    }
  }
  return Status::Ok();
}

Status ChannelCommunicator::ReduceParts(const char* op, Reduction reduction, Matrix out) {
  const size_t count = out.elements();
  const Matrix mine = sends_[rank_];
  for (size_t r = 0; r < size(); ++r) {
    receives_[r] = {Room(r), 1, count, count};
    parts_[r] = Room(r);
  }
  if (Status s = AllToAll(op, sends_, receives_); !s.ok() || count == 0) return s;
  float* own = RunOf(mine, 0, count);
  if (own != nullptr) {
    parts_[rank_] = own;
  } else {
    CopyFrom(mine, 0, count, Room(rank_));
  }
  float* run = RunOf(out, 0, count);
  Reduce(reduction, count, run != nullptr ? run : Room(size()));
  if (run == nullptr) CopyTo(out, 0, count, Room(size()));
  return Status::Ok();
}

Status ChannelCommunicator::Broadcast(const char* op, size_t root, Matrix x) {
  std::fill(sends_.begin(), sends_.end(), rank_ == root ? x : Matrix{});
  std::fill(receives_.begin(), receives_.end(), Matrix{});
  if (rank_ != root) receives_[root] = x;
  return AllToAll(op, sends_, receives_);
}

void ChannelCommunicator::Reduce(Reduction reduction, size_t count, float* out) {
  if (size() == 1 && parts_[0] != out) std::memcpy(out, parts_[0], count * sizeof(float));
  for (size_t gap = 1; gap < size(); gap *= 2) {
    for (size_t r = 0; r + gap < size(); r += 2 * gap) {
      float* to = 2 * gap >= size() ? out : Room(r);
      Combine(reduction, parts_[r], parts_[r + gap], count, to);
      parts_[r] = to;
    }
  }
}

}  // namespace skein
