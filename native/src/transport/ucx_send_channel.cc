#include <algorithm>
#include <cstring>

#include "transport/byte_codec.h"
#include "transport/ucx_channel.h"

namespace skein::transport {
namespace {

constexpr size_t kStagingBuffers = 8;
/// Credits are cumulative and come at most a few per window; these are posted for them.
constexpr size_t kCreditBuffers = 8;

using Buffer = std::unique_ptr<uint8_t[]>;

}  // namespace

/// All but `latch` belongs to the worker's lock. Posted operations share it, so it lives until UCX has let go
/// of its buffers.
struct UcxSendChannel::State : std::enable_shared_from_this<State> {
  State(std::string name_, const UcxDescriptor& descriptor)
      : name(std::move(name_)), where(descriptor.where), channel_id(descriptor.channel_id) {}

  const std::string name;
  const std::string where;
  const uint64_t channel_id;
  FailureLatch latch;
  UcxWaiter waiter;
  UcxEndpoint* endpoint = nullptr;
  std::vector<Buffer> free_buffers;
  size_t in_flight = 0;  ///< pieces UCX still reads
  bool send_failed = false;
  uint64_t sent = 0;  ///< pieces
  uint64_t consumed = 0;
  uint64_t window = 0;
  UcxCredit credits[kCreditBuffers] = {};
  UcxOperation* credit_operations[kCreditBuffers] = {};

  void Lost(const std::string& why) {
    latch.Set(Code::kPeerLost, "channel '" + name + "' to " + where + ": " + why);
    waiter.Notify();
  }
  void PostCredit(UcxWorker& worker, size_t index) {
    credit_operations[index] = nullptr;
    UcxOperation* posted = worker.Receive(
        TagOf(channel_id, TagKind::kCredit), shared_from_this(), &credits[index], sizeof(UcxCredit),
        [this, &worker, index](ucs_status_t status, size_t size) { OnCredit(worker, index, status, size); });
    if (posted != nullptr) credit_operations[index] = posted;
  }
  void OnCredit(UcxWorker& worker, size_t index, ucs_status_t status, size_t size) {
    credit_operations[index] = nullptr;
    if (latch.failed()) return;
    const UcxCredit credit = credits[index];
    if (status != UCS_OK || size != sizeof(credit) || credit.magic != kCreditMagic)
      return Lost("a credit message is corrupt");
    if (credit.closes != 0) return Lost("the receiving side closed it");
    if (credit.window == 0 || credit.window > kWindowMax || credit.consumed < consumed ||
        credit.consumed > sent)
      return Lost("a credit message is corrupt: " + std::to_string(credit.consumed) + " of " +
                  std::to_string(sent) + " pieces");
    window = credit.window;
    consumed = credit.consumed;
    waiter.Notify();
    PostCredit(worker, index);
  }
  void SendPiece(UcxWorker& worker, Buffer buffer, size_t size) {
    auto* bytes = buffer.get();
    ++in_flight;
    ++sent;
    auto shared = std::make_shared<Buffer>(std::move(buffer));
    worker.Send(endpoint, TagOf(channel_id, TagKind::kPiece), shared, bytes, size,
                [state = shared_from_this(), shared](ucs_status_t status, size_t) {
                  --state->in_flight;
                  state->free_buffers.push_back(std::move(*shared));
                  if (status != UCS_OK) {
                    state->send_failed = true;
                    state->Lost("a send failed");
                  }
                  state->waiter.Notify();
                });
  }
};

UcxSendChannel::UcxSendChannel(std::shared_ptr<UcxWorker> worker, std::string name,
                               const UcxDescriptor& descriptor)
    : worker_(std::move(worker)), state_(std::make_shared<State>(std::move(name), descriptor)) {
  for (size_t i = 0; i < kStagingBuffers; ++i)
    state_->free_buffers.emplace_back(new uint8_t[sizeof(UcxPiece) + kPieceBytes]);
}

UcxSendChannel::~UcxSendChannel() { Fail("channel '" + state_->name + "' was closed"); }

Status UcxSendChannel::Open(std::shared_ptr<UcxWorker> worker, const std::string& name,
                            const std::vector<uint8_t>& bytes, Deadline deadline,
                            std::shared_ptr<SendChannel>* out) {
  UcxDescriptor descriptor;
  if (Status status = DecodeDescriptor(bytes, &descriptor); !status.ok())
    return {status.code(), "channel '" + name + "': " + status.message()};
  std::shared_ptr<UcxSendChannel> channel(new UcxSendChannel(std::move(worker), name, descriptor));
  Status status = channel->Connect(descriptor, deadline);
  if (status.ok()) *out = std::move(channel);
  return status;
}

Status UcxSendChannel::Connect(const UcxDescriptor& descriptor, Deadline deadline) {
  const std::string what =
      "channel '" + state_->name + "' from " + worker_->where() + " to " + state_->where + ": ";
  const auto& address = worker_->address();
  const UcxHello head{kHelloMagic,
                      {descriptor.nonce[0], descriptor.nonce[1]},
                      kUcxWireVersion,
                      static_cast<uint32_t>(address.size()),
                      Checksum(address.data(), address.size())};
  const auto hello = std::make_shared<std::vector<uint8_t>>(RecordBytes(head, address.size()));
  std::copy(address.begin(), address.end(), hello->begin() + sizeof(head));

  auto lock = worker_->Acquire();
  State& state = *state_;
  const auto on_lost = [weak = std::weak_ptr<State>(state_)](const std::string& why) {
    if (const auto alive = weak.lock()) alive->Lost(why);
  };
  if (Status status = worker_->Connect(descriptor.address.data(), on_lost, &state.endpoint); !status.ok())
    return {status.code(), what + status.message()};
  for (size_t i = 0; i < kCreditBuffers; ++i) state.PostCredit(*worker_, i);
  worker_->Send(state.endpoint, TagOf(state.channel_id, TagKind::kHello), hello, hello->data(), hello->size(),
                [](ucs_status_t, size_t) {});
  const bool answered = worker_->Wait(lock, state.waiter, deadline, [&] {
    return state.window > 0 || state.latch.failed() || worker_->closing();
  });
  if (state.latch.failed()) return state.latch.status();
  if (worker_->closing()) return {Code::kPeerLost, what + "the transport was closed"};
  if (!answered) return {Code::kDeadline, what + "the receiver did not answer until the deadline"};
  return Status::Ok();
}

Status UcxSendChannel::Send(uint64_t step, const void* data, size_t size, Deadline deadline) {
  const OperationGuard guard(running_);
  if (!guard.entered())
    return {Code::kInvalidArgument, "channel '" + state_->name + "': another send is running"};
  bool started = false;
  Status status = SendPieces(step, static_cast<const uint8_t*>(data), size, deadline, &started);
  if (status.ok()) status = Flush(deadline);
  if (!status.ok()) {
    // Before the first piece nothing was sent, and a deadline leaves the channel usable.
    if (started)
      Fail("channel '" + state_->name + "': a send ended inside its message (" + status.message() + ")");
    return status;
  }
  bytes_.fetch_add(size, std::memory_order_relaxed);
  messages_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Status UcxSendChannel::SendPieces(uint64_t step, const uint8_t* data, size_t size, Deadline deadline,
                                  bool* started) {
  State& state = *state_;
  auto lock = worker_->Acquire();
  size_t offset = 0;
  do {
    const auto ready = [&] {
      return state.latch.failed() ||
             (!state.free_buffers.empty() && state.sent - state.consumed < state.window);
    };
    const bool in_time = worker_->Wait(lock, state.waiter, deadline, ready);
    if (state.latch.failed()) return state.latch.status();
    if (!in_time)
      return {Code::kDeadline, "channel '" + state.name + "': the receiver took nothing until the deadline"};
    Buffer buffer = std::move(state.free_buffers.back());
    state.free_buffers.pop_back();
    const size_t count = std::min(size - offset, kPieceBytes);
    const UcxPiece piece{kPieceMagic, 0, state.sent, step, size, offset, {}};
    lock.unlock();
    std::memcpy(buffer.get(), &piece, sizeof(piece));
    if (count > 0) std::memcpy(buffer.get() + sizeof(piece), data + offset, count);
    lock.lock();
    if (state.latch.failed()) {
      state.free_buffers.push_back(std::move(buffer));
      return state.latch.status();
    }
    *started = true;
    offset += count;
    state.SendPiece(*worker_, std::move(buffer), sizeof(piece) + count);
  } while (offset < size);
  return Status::Ok();
}

Status UcxSendChannel::Flush(Deadline deadline) {
  State& state = *state_;
  auto lock = worker_->Acquire();
  if (state.latch.failed()) return state.latch.status();
  const auto flushed = std::make_shared<bool>(false);
  worker_->Flush(state.endpoint, [flushed, kept = state_](ucs_status_t status, size_t) {
    *flushed = true;
    kept->send_failed |= status != UCS_OK;
    kept->waiter.Notify();
  });
  const auto ready = [&] { return state.latch.failed() || (*flushed && state.in_flight == 0); };
  const bool in_time = worker_->Wait(lock, state.waiter, deadline, ready);
  if (*flushed && state.in_flight == 0 && !state.send_failed) return Status::Ok();
  if (state.latch.failed()) return state.latch.status();
  if (in_time) return {Code::kPeerLost, "channel '" + state.name + "': the connection ended"};
  return {Code::kDeadline, "channel '" + state.name + "': the network took nothing until the deadline"};
}

void UcxSendChannel::Fail(const std::string& reason) {
  State& state = *state_;
  const auto lock = worker_->Acquire();
  const bool was_lost = !state.latch.Set(Code::kPeerLost, reason);
  state.waiter.Notify();
  if (state.endpoint == nullptr) return;
  UcxEndpoint* endpoint = state.endpoint;
  state.endpoint = nullptr;
  if (!worker_->closing()) {
    if (!was_lost && state.window > 0 && !endpoint->failed) {
      const auto last = std::make_shared<UcxPiece>(UcxPiece{kPieceMagic, 1, 0, 0, 0, 0, {}});
      worker_->Send(endpoint, TagOf(state.channel_id, TagKind::kPiece), last, last.get(), sizeof(*last),
                    [](ucs_status_t, size_t) {});
    }
    for (UcxOperation* posted : state.credit_operations)
      if (posted != nullptr) worker_->Cancel(posted);
  }
  worker_->Disconnect(endpoint);
}

ChannelCounters UcxSendChannel::counters() const {
  return {"tcp", bytes_.load(std::memory_order_relaxed), messages_.load(std::memory_order_relaxed)};
}

}  // namespace skein::transport
