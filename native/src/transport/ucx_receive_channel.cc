#include <algorithm>
#include <cstring>

#include "transport/byte_codec.h"
#include "transport/ucx_channel.h"

namespace skein::transport {
namespace {

constexpr size_t kSlotBytes = sizeof(UcxPiece) + kPieceBytes;

/// A posted buffer. Pieces land in slots in the order of posting.
struct Slot {
  std::unique_ptr<uint8_t[]> bytes{new uint8_t[kSlotBytes]};
  UcxOperation* operation = nullptr;
  bool filled = false;
  size_t size = 0;
  ucs_status_t status = UCS_OK;
};

}  // namespace

/// As in UcxSendChannel.
struct UcxReceiveChannel::State : std::enable_shared_from_this<State> {
  State(std::string name_, size_t window_)
      : name(std::move(name_)), window(window_), slots(window_ + 1), hello(kHelloBytesMax) {}

  const std::string name;
  const size_t window;
  const uint64_t channel_id = RandomWord();
  const uint64_t nonce[2] = {RandomWord(), RandomWord()};
  FailureLatch latch;  ///< local ends; reported at once
  FailureLatch lost;   ///< the peer's end; reported when all that came before has been taken
  UcxWaiter waiter;
  UcxEndpoint* endpoint = nullptr;
  std::vector<Slot> slots;  ///< one more than the window: for the closing piece
  size_t next = 0;
  uint64_t consumed = 0;
  uint64_t credited = 0;
  std::vector<uint8_t> hello;
  UcxOperation* hello_operation = nullptr;

  void Lost(const std::string& why) {
    lost.Set(Code::kPeerLost, "channel '" + name + "': " + why);
    waiter.Notify();
  }
  void PostSlot(UcxWorker& worker, size_t index) {
    Slot& slot = slots[index];
    slot.filled = false;
    slot.operation = nullptr;
    UcxOperation* posted =
        worker.Receive(TagOf(channel_id, TagKind::kPiece), shared_from_this(), slot.bytes.get(), kSlotBytes,
                       [this, index](ucs_status_t status, size_t size) {
                         Slot& filled = slots[index];
                         filled.operation = nullptr;
                         filled.filled = true;
                         filled.size = size;
                         filled.status = status;
                         waiter.Notify();
                       });
    if (posted != nullptr) slot.operation = posted;
  }
  void PostHello(UcxWorker& worker) {
    hello_operation = worker.Receive(
        TagOf(channel_id, TagKind::kHello), shared_from_this(), hello.data(), hello.size(),
        [this, &worker](ucs_status_t status, size_t size) {
          hello_operation = nullptr;
          if (status != UCS_OK || latch.failed()) return;
          worker.Defer([state = shared_from_this(), &worker, size] { state->OnHello(worker, size); });
        });
  }
  void OnHello(UcxWorker& worker, size_t size) {
    if (latch.failed() || worker.closing()) return;
    UcxHello head{};
    const bool whole = ReadRecord(hello.data(), size, &head) && head.magic == kHelloMagic &&
                       head.version == kUcxWireVersion && head.nonce[0] == nonce[0] &&
                       head.nonce[1] == nonce[1] && head.address_bytes > 0 &&
                       head.address_bytes == size - sizeof(head) &&
                       Checksum(hello.data() + sizeof(head), head.address_bytes) == head.checksum;
    if (!whole) {
      // Not from who holds the descriptor; the sender may still come.
      return PostHello(worker);
    }
    const auto on_lost = [weak = weak_from_this()](const std::string& why) {
      if (const auto alive = weak.lock()) alive->Lost(why);
    };
    const Status status = worker.Connect(hello.data() + sizeof(head), on_lost, &endpoint);
    if (!status.ok()) return Lost(status.message());
    SendCredit(worker, 0);
  }
  void SendCredit(UcxWorker& worker, uint32_t closes) {
    if (endpoint == nullptr || endpoint->failed) return;
    const auto credit = std::make_shared<UcxCredit>(UcxCredit{kCreditMagic, closes, window, consumed});
    credited = consumed;
    worker.Send(endpoint, TagOf(channel_id, TagKind::kCredit), credit, credit.get(), sizeof(*credit),
                [](ucs_status_t, size_t) {});
  }
};

UcxReceiveChannel::UcxReceiveChannel(std::shared_ptr<UcxWorker> worker, std::string name, size_t window)
    : worker_(std::move(worker)), state_(std::make_shared<State>(std::move(name), window)) {}

UcxReceiveChannel::~UcxReceiveChannel() { Fail("channel '" + state_->name + "' was closed"); }

Status UcxReceiveChannel::Open(std::shared_ptr<UcxWorker> worker, const std::string& name, size_t capacity,
                               std::shared_ptr<ReceiveChannel>* out, std::vector<uint8_t>* descriptor) {
  if (capacity == 0) return {Code::kInvalidArgument, "channel '" + name + "': capacityBytes is 0"};
  const size_t window = std::clamp<size_t>(capacity / kPieceBytes, 4, kWindowMax);
  std::shared_ptr<UcxReceiveChannel> channel(new UcxReceiveChannel(std::move(worker), name, window));
  State& state = *channel->state_;
  UcxWorker& ucx = *channel->worker_;
  const auto lock = ucx.Acquire();
  if (ucx.closing()) return {Code::kPeerLost, "the transport was closed"};
  for (size_t i = 0; i < state.slots.size(); ++i) state.PostSlot(ucx, i);
  state.PostHello(ucx);
  *descriptor =
      EncodeDescriptor({state.channel_id, {state.nonce[0], state.nonce[1]}, ucx.where(), ucx.address()});
  *out = std::move(channel);
  return Status::Ok();
}

Status UcxReceiveChannel::WaitMessage(Deadline deadline) {
  const OperationGuard guard(running_);
  if (!guard.entered())
    return {Code::kInvalidArgument, "channel '" + state_->name + "': another receive is running"};
  auto lock = worker_->Acquire();
  return WaitForPiece(lock, deadline);
}

Status UcxReceiveChannel::Receive(uint64_t* step, void* data, size_t capacity, size_t* size,
                                  Deadline deadline) {
  const OperationGuard guard(running_);
  if (!guard.entered())
    return {Code::kInvalidArgument, "channel '" + state_->name + "': another receive is running"};
  bool started = false;
  const Status status = ReceivePieces(step, static_cast<uint8_t*>(data), capacity, size, deadline, &started);
  if (!status.ok()) {
    if (started)
      Fail("channel '" + state_->name + "': a receive ended inside its message (" + status.message() + ")");
    return status;
  }
  bytes_.fetch_add(*size, std::memory_order_relaxed);
  messages_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

Status UcxReceiveChannel::WaitForPiece(UcxWorker::Lock& lock, Deadline deadline) {
  State& state = *state_;
  const auto ready = [&] {
    return state.latch.failed() || state.slots[state.next].filled || state.lost.failed();
  };
  const bool in_time = worker_->Wait(lock, state.waiter, deadline, ready);
  if (state.latch.failed()) return state.latch.status();
  if (state.slots[state.next].filled) return Status::Ok();
  if (in_time) return state.lost.status();
  return {Code::kDeadline, "channel '" + state.name + "': nothing came until the deadline"};
}

Status UcxReceiveChannel::ReceivePieces(uint64_t* step, uint8_t* data, size_t capacity, size_t* size,
                                        Deadline deadline, bool* started) {
  State& state = *state_;
  const auto corrupt = [&](const std::string& what) {
    *started = true;
    return Status(Code::kPeerLost, "channel '" + state.name + "' is corrupt: " + what);
  };
  auto lock = worker_->Acquire();
  uint64_t total = 0;
  uint64_t offset = 0;
  do {
    if (Status status = WaitForPiece(lock, deadline); !status.ok()) return status;
    Slot& slot = state.slots[state.next];
    UcxPiece piece{};
    if (slot.status != UCS_OK || !ReadRecord(slot.bytes.get(), slot.size, &piece) ||
        piece.magic != kPieceMagic)
      return corrupt("a piece's header");
    if (piece.closes != 0) {
      *started = true;
      return {Code::kPeerLost, "channel '" + state.name + "': the sending side closed it"};
    }
    const size_t count = slot.size - sizeof(piece);
    if (!*started) {
      total = piece.total;
      *step = piece.step;
      *size = static_cast<size_t>(total);
      if (total > capacity) {
        *started = true;
        return {Code::kInvalidArgument, "channel '" + state.name + "': a message of " +
                                            std::to_string(total) + " bytes, room for " +
                                            std::to_string(capacity)};
      }
    }
    const bool in_order = piece.sequence == state.consumed && piece.total == total && piece.step == *step &&
                          piece.offset == offset && count == std::min<uint64_t>(total - offset, kPieceBytes);
    if (!in_order) return corrupt("piece " + std::to_string(state.consumed) + " is out of order");
    *started = true;
    lock.unlock();  // the slot is ours until it is posted again
    if (count > 0) std::memcpy(data + offset, slot.bytes.get() + sizeof(piece), count);
    lock.lock();
    if (state.latch.failed()) return state.latch.status();
    offset += count;
    state.PostSlot(*worker_, state.next);
    state.next = (state.next + 1) % state.slots.size();
    ++state.consumed;
    if (state.consumed - state.credited >= state.window / 4) state.SendCredit(*worker_, 0);
  } while (offset < total);
  return Status::Ok();
}

void UcxReceiveChannel::Fail(const std::string& reason) {
  State& state = *state_;
  const auto lock = worker_->Acquire();
  const bool first = state.latch.Set(Code::kPeerLost, reason);
  state.waiter.Notify();
  if (!first || worker_->closing()) return;
  for (Slot& slot : state.slots)
    if (slot.operation != nullptr) worker_->Cancel(slot.operation);
  if (state.hello_operation != nullptr) worker_->Cancel(state.hello_operation);
  if (state.endpoint == nullptr) return;
  if (!state.lost.failed()) state.SendCredit(*worker_, 1);
  worker_->Disconnect(state.endpoint);
  state.endpoint = nullptr;
}

ChannelCounters UcxReceiveChannel::counters() const {
  return {"tcp", bytes_.load(std::memory_order_relaxed), messages_.load(std::memory_order_relaxed)};
}

}  // namespace skein::transport
