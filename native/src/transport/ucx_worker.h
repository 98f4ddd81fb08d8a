#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "skein/channel.h"
#include "transport/ucx_api.h"

namespace skein::transport {

/// How a sleeping operation is woken by another thread. One per channel; fields belong to the worker's lock.
class UcxWaiter {
 public:
  UcxWaiter();
  ~UcxWaiter();
  UcxWaiter(const UcxWaiter&) = delete;
  UcxWaiter& operator=(const UcxWaiter&) = delete;
  /// With the lock held. No system call unless the operation sleeps.
  void Notify();

 private:
  friend class UcxWorker;
  const int event_fd_;
  bool sleeping_ = false;
};

/// One connection to a peer's worker. Owned by the UcxWorker; a pointer is valid until Disconnect.
struct UcxEndpoint : std::enable_shared_from_this<UcxEndpoint> {
  ucp_ep_h handle = nullptr;
  std::function<void(const std::string& why)> on_lost;  ///< with the lock held; must not call into UCX
  bool failed = false;
  bool flushed = false;
  bool closing = false;
  bool closed = false;
  Deadline close_by;
};

/// The memory and outcome of one posted operation. Owned by the UcxWorker; a pointer is valid until `done`
/// was called.
struct UcxOperation {
  std::function<void(ucs_status_t status, size_t size)> done;  ///< once, with the lock held
  std::shared_ptr<void> memory;  ///< what UCX reads or writes lives at least as long
  ucp_tag_recv_info_t info{};
  void* request = nullptr;
  bool completed = false;
  ucs_status_t status = UCS_OK;
  class UcxWorker* worker = nullptr;
};

/// One UCX context and worker, and everything posted on it. One lock guards all of it, UCX included. The
/// thread of a waiting operation makes UCX progress itself; while none waits, a thread of our own does,
/// asleep on UCX's event descriptor.
class UcxWorker : public std::enable_shared_from_this<UcxWorker> {
 public:
  using Lock = std::unique_lock<std::mutex>;
  using Done = std::function<void(ucs_status_t status, size_t size)>;

  /// `interface_name` confines UCX to one network interface. It names the network device alone, so RDMA
  /// devices are then left out.
  static Status Create(const UcxApi& api, const std::optional<std::string>& interface_name,
                       std::shared_ptr<UcxWorker>* out);
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  /// Begins the end, from any thread: endpoints close, posted operations complete, UCX is taken down by the
  /// worker's own thread within a second or so. Channels are failed first by their owner.
  void Close();
  /// True when that is done; waits for it until `deadline`.
  bool WaitClosed(Deadline deadline);

  const std::vector<uint8_t>& address() const { return address_; }
  const std::string& where() const { return where_; }
  /// Endpoints not yet fully closed.
  size_t endpoint_count();

  Lock Acquire() { return Lock(mutex_); }

  // All below: with the lock held.
  bool closing() const { return closing_; }
  /// Starts a connection; failures come later, through `on_lost`.
  Status Connect(const uint8_t* address, std::function<void(const std::string&)> on_lost, UcxEndpoint** out);
  /// Gives sent data half a second to leave, then closes by force. Returns at once; `on_lost` is not called
  /// any more.
  void Disconnect(UcxEndpoint* endpoint);
  void Send(UcxEndpoint* endpoint, uint64_t tag, std::shared_ptr<void> memory, const void* data, size_t size,
            Done done);
  /// Posts a receive of at most `size` bytes with exactly this tag. Null when it completed at once.
  UcxOperation* Receive(uint64_t tag, std::shared_ptr<void> memory, void* data, size_t size, Done done);
  /// `done` gets UCS_OK when all that was sent has been handed to the network.
  void Flush(UcxEndpoint* endpoint, Done done);
  void Cancel(UcxOperation* operation);
  /// Runs `work` after the current progress call, outside UCX' callbacks.
  void Defer(std::function<void()> work) { deferred_.push_back(std::move(work)); }
  /// Makes progress until `ready()`; spins briefly, then sleeps with the lock released. False at the
  /// deadline. Close wakes it, to look once more: `ready` must then be true, through the channel's failure or
  /// `closing()`.
  bool Wait(Lock& lock, UcxWaiter& waiter, Deadline deadline, const std::function<bool()>& ready);

 private:
  UcxWorker(const UcxApi& api, std::string where) : api_(api), where_(std::move(where)) {}
  Status Init(const std::optional<std::string>& interface_name);
  UcxOperation* Post(UcxOperation* operation, ucs_status_ptr_t result);
  void Complete(UcxOperation* operation);
  UcxOperation* NewOperation(std::shared_ptr<void> memory, Done done);
  void Progress();
  void DriveClosing();
  void SleepOnEvents(Lock& lock, int event_fd, int timeout_ms);
  void ProgressThread();
  void TearDown(Lock& lock);
  static void OnSent(void* request, ucs_status_t status, void* operation);
  static void OnReceived(void* request, ucs_status_t status, const ucp_tag_recv_info_t* info,
                         void* operation);
  static void OnError(void* endpoint, ucp_ep_h handle, ucs_status_t status);
  void OnCompleted(UcxOperation* operation, ucs_status_t status);

  const UcxApi& api_;
  const std::string where_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int ucx_fd_ = -1;
  int stop_fd_ = -1;
  std::vector<uint8_t> address_;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable idle_;
  std::condition_variable closed_changed_;
  bool closing_ = false;
  bool closed_ = false;
  bool in_progress_ = false;
  int waiting_ = 0;        ///< operations inside Wait
  uint64_t activity_ = 0;  ///< Waits begun
  std::list<std::shared_ptr<UcxEndpoint>> endpoints_;
  std::unordered_set<UcxOperation*> operations_;
  std::unordered_set<UcxWaiter*> sleepers_;
  std::vector<std::function<void()>> deferred_;
};

}  // namespace skein::transport
