#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "skein/channel.h"
#include "transport/ucx_worker.h"

namespace skein::transport {

/// kShm serves ranks of one host, kTcp (UCX) all others.
enum class TransportKind { kShm, kTcp };

/// Which address UCX takes of an interface that has both.
enum class AddressOrder { kIpv4First, kIpv6First };

/// Opens channels; one per rank process. All methods may be called from any thread. UCX is started by the
/// first kTcp channel, so a process without one listens nowhere.
class Transport {
 public:
  /// The order holds for the whole process, and a UCX_TCP_AF_PRIO in the environment stands before it.
  explicit Transport(std::optional<std::string> interface_name,
                     AddressOrder order = AddressOrder::kIpv4First);
  /// Closes, and waits a bounded time (below two seconds) for UCX to be taken down.
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// Ok, or kUnavailable with the reason that kTcp channels cannot be opened.
  const Status& ucx_status() const { return ucx_status_; }

  /// Makes the receiving end; `*descriptor` (at most 4 KiB) is what OpenSend needs on the other side.
  Status OpenReceive(const std::string& name, TransportKind kind, size_t capacity_bytes,
                     std::shared_ptr<ReceiveChannel>* out, std::vector<uint8_t>* descriptor);
  /// Blocks until connected or `deadline`.
  Status OpenSend(const std::string& name, TransportKind kind, const std::vector<uint8_t>& descriptor,
                  Deadline deadline, std::shared_ptr<SendChannel>* out);
  /// Fails every channel and begins to take UCX down; does not block.
  void Close();
  bool closed();
  /// After Close: waits until UCX is down. False at `deadline`.
  bool WaitClosed(Deadline deadline);
  /// UCX connections not yet fully closed.
  size_t endpoint_count();

 private:
  Status StartUcx(std::shared_ptr<UcxWorker>* out);
  std::shared_ptr<UcxWorker> ucx();
  template <typename Channel>
  Status Remember(std::vector<std::weak_ptr<Channel>>* channels, const std::shared_ptr<Channel>& channel);

  const std::optional<std::string> interface_name_;
  const UcxApi* api_ = nullptr;
  Status ucx_status_;
  std::mutex mutex_;
  bool closed_ = false;
  std::shared_ptr<UcxWorker> ucx_;
  std::vector<std::weak_ptr<SendChannel>> senders_;
  std::vector<std::weak_ptr<ReceiveChannel>> receivers_;
};

}  // namespace skein::transport
