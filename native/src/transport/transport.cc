#include "transport/transport.h"

#include <net/if.h>

#include <cstdlib>
#include <utility>

#include "transport/shm_channel.h"
#include "transport/ucx_channel.h"

namespace skein::transport {
namespace {

constexpr char kClosed[] = "the transport was closed";

}  // namespace

Transport::Transport(std::optional<std::string> interface_name, AddressOrder order)
    : interface_name_(std::move(interface_name)) {
  // UCX 1.13 takes this from the environment alone: ucp_config_modify does not reach the settings of memory
  // domains.
  if (order == AddressOrder::kIpv6First) setenv("UCX_TCP_AF_PRIO", "inet6,inet", 0);
  ucx_status_ = LoadUcx(&api_);
  if (ucx_status_.ok() && interface_name_ && if_nametoindex(interface_name_->c_str()) == 0)
    ucx_status_ = {Code::kUnavailable, "there is no network interface '" + *interface_name_ + "'"};
}

Transport::~Transport() {
  Close();
  WaitClosed(Clock::now() + std::chrono::milliseconds(1500));
}

Status Transport::StartUcx(std::shared_ptr<UcxWorker>* out) {
  if (!ucx_status_.ok()) return ucx_status_;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return {Code::kPeerLost, kClosed};
  if (ucx_ == nullptr) {
    if (Status status = UcxWorker::Create(*api_, interface_name_, &ucx_); !status.ok()) return status;
  }
  *out = ucx_;
  return Status::Ok();
}

template <typename Channel>
Status Transport::Remember(std::vector<std::weak_ptr<Channel>>* channels,
                           const std::shared_ptr<Channel>& channel) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return {Code::kPeerLost, kClosed};
  std::erase_if(*channels, [](const auto& weak) { return weak.expired(); });
  channels->push_back(channel);
  return Status::Ok();
}

Status Transport::OpenReceive(const std::string& name, TransportKind kind, size_t capacity_bytes,
                              std::shared_ptr<ReceiveChannel>* out, std::vector<uint8_t>* descriptor) {
  std::shared_ptr<ReceiveChannel> channel;
  if (kind == TransportKind::kShm) {
    std::unique_ptr<ShmRing> ring;
    if (Status status = ShmRing::Create(name, capacity_bytes, &ring); !status.ok()) return status;
    *descriptor = ring->descriptor();
    channel = std::make_shared<ShmReceiveChannel>(name, std::move(ring));
  } else {
    std::shared_ptr<UcxWorker> worker;
    if (Status status = StartUcx(&worker); !status.ok()) return status;
    if (Status status =
            UcxReceiveChannel::Open(std::move(worker), name, capacity_bytes, &channel, descriptor);
        !status.ok())
      return status;
  }
  if (Status status = Remember(&receivers_, channel); !status.ok()) return status;
  *out = std::move(channel);
  return Status::Ok();
}

Status Transport::OpenSend(const std::string& name, TransportKind kind,
                           const std::vector<uint8_t>& descriptor, Deadline deadline,
                           std::shared_ptr<SendChannel>* out) {
  std::shared_ptr<SendChannel> channel;
  if (kind == TransportKind::kShm) {
    std::unique_ptr<ShmRing> ring;
    if (Status status = ShmRing::Open(name, descriptor, &ring); !status.ok()) return status;
    channel = std::make_shared<ShmSendChannel>(name, std::move(ring));
  } else {
    std::shared_ptr<UcxWorker> worker;
    if (Status status = StartUcx(&worker); !status.ok()) return status;
    if (Status status = UcxSendChannel::Open(std::move(worker), name, descriptor, deadline, &channel);
        !status.ok())
      return status;
  }
  if (Status status = Remember(&senders_, channel); !status.ok()) return status;
  *out = std::move(channel);
  return Status::Ok();
}

void Transport::Close() {
  std::vector<std::weak_ptr<SendChannel>> senders;
  std::vector<std::weak_ptr<ReceiveChannel>> receivers;
  std::shared_ptr<UcxWorker> ucx;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    closed_ = true;
    senders.swap(senders_);
    receivers.swap(receivers_);
    ucx = ucx_;
  }
  for (const auto& weak : senders)
    if (const auto channel = weak.lock()) channel->Fail(kClosed);
  for (const auto& weak : receivers)
    if (const auto channel = weak.lock()) channel->Fail(kClosed);
  if (ucx != nullptr) ucx->Close();
}

std::shared_ptr<UcxWorker> Transport::ucx() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ucx_;
}

bool Transport::closed() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return closed_;
}

bool Transport::WaitClosed(Deadline deadline) {
  const auto worker = ucx();
  return worker == nullptr || worker->WaitClosed(deadline);
}

size_t Transport::endpoint_count() {
  const auto worker = ucx();
  return worker == nullptr ? 0 : worker->endpoint_count();
}

}  // namespace skein::transport
