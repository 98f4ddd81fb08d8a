#include "transport/ucx_worker.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "transport/waiting.h"

namespace skein::transport {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFlushTime{500};
constexpr milliseconds kTearDownTime{1000};

void Signal(int event_fd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd, &one, sizeof(one));
}

void Drain(int event_fd) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_fd, &count, sizeof(count));
}

}  // namespace

UcxWaiter::UcxWaiter() : event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
UcxWaiter::~UcxWaiter() { close(event_fd_); }
void UcxWaiter::Notify() {
  if (sleeping_) Signal(event_fd_);
}

void UcxWorker::Close() {
  const Lock lock = Acquire();
  closing_ = true;
  for (UcxWaiter* waiter : sleepers_) waiter->Notify();
  idle_.notify_all();
  Signal(stop_fd_);
}

bool UcxWorker::WaitClosed(Deadline deadline) {
  Lock lock = Acquire();
  return closed_changed_.wait_until(lock, deadline, [&] { return closed_; });
}

size_t UcxWorker::endpoint_count() {
  const Lock lock = Acquire();
  return endpoints_.size();
}

Status UcxWorker::Connect(const uint8_t* address, std::function<void(const std::string&)> on_lost,
                          UcxEndpoint** out) {
  if (closing_) return {Code::kPeerLost, "the transport was closed"};
  auto endpoint = std::make_shared<UcxEndpoint>();
  endpoint->on_lost = std::move(on_lost);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address);
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {OnError, endpoint.get()};
  const ucs_status_t status = api_.ucp_ep_create(worker_, &params, &endpoint->handle);
  if (status != UCS_OK)
    return {Code::kPeerLost, std::string("UCX cannot connect: ") + api_.ucs_status_string(status)};
  *out = endpoint.get();
  endpoints_.push_back(std::move(endpoint));
  return Status::Ok();
}

void UcxWorker::Disconnect(UcxEndpoint* endpoint) {
  endpoint->on_lost = nullptr;
  if (worker_ == nullptr) return;
  endpoint->closing = true;
  endpoint->close_by = Clock::now() + kFlushTime;
  if (!endpoint->failed)
    Flush(endpoint, [kept = endpoint->shared_from_this()](ucs_status_t, size_t) { kept->flushed = true; });
  Signal(stop_fd_);  // the worker's thread drives the rest
}

void UcxWorker::DriveClosing() {
  if (worker_ == nullptr) return;
  const auto now = Clock::now();
  for (auto& endpoint : endpoints_) {
    if (!endpoint->closing || endpoint->handle == nullptr) continue;
    if (!endpoint->flushed && !endpoint->failed && now < endpoint->close_by) continue;
    UcxOperation* operation =
        NewOperation(nullptr, [kept = endpoint](ucs_status_t, size_t) { kept->closed = true; });
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    param.cb.send = OnSent;
    param.user_data = operation;
    Post(operation, api_.ucp_ep_close_nbx(std::exchange(endpoint->handle, nullptr), &param));
  }
  endpoints_.remove_if([](const auto& endpoint) { return endpoint->closed; });
}

UcxOperation* UcxWorker::NewOperation(std::shared_ptr<void> memory, Done done) {
  auto* operation = new UcxOperation;
  operation->done = std::move(done);
  operation->memory = std::move(memory);
  operation->worker = this;
  operations_.insert(operation);
  return operation;
}

UcxOperation* UcxWorker::Post(UcxOperation* operation, ucs_status_ptr_t result) {
  if (UCS_PTR_IS_PTR(result)) {
    operation->request = result;
    if (!operation->completed) return operation;
  } else if (!operation->completed) {
    operation->status = UCS_PTR_STATUS(result);
  }
  Complete(operation);
  return nullptr;
}

void UcxWorker::Complete(UcxOperation* operation) {
  operations_.erase(operation);
  const std::unique_ptr<UcxOperation> owned(operation);
  if (owned->request != nullptr) api_.ucp_request_free(owned->request);
  owned->done(owned->status, owned->info.length);
}

void UcxWorker::OnCompleted(UcxOperation* operation, ucs_status_t status) {
  operation->status = status;
  operation->completed = true;
  // Inside the posting call itself the request is not known yet; Post completes it.
  if (operation->request != nullptr) Complete(operation);
}

void UcxWorker::OnSent(void*, ucs_status_t status, void* user_data) {
  auto* operation = static_cast<UcxOperation*>(user_data);
  operation->worker->OnCompleted(operation, status);
}

void UcxWorker::OnReceived(void*, ucs_status_t status, const ucp_tag_recv_info_t* info, void* user_data) {
  auto* operation = static_cast<UcxOperation*>(user_data);
  operation->info = *info;
  operation->worker->OnCompleted(operation, status);
}

void UcxWorker::OnError(void* user_data, ucp_ep_h, ucs_status_t status) {
  auto* endpoint = static_cast<UcxEndpoint*>(user_data);
  endpoint->failed = true;
  const UcxApi* api = nullptr;
  if (endpoint->on_lost && LoadUcx(&api).ok()) endpoint->on_lost(api->ucs_status_string(status));
}

void UcxWorker::Send(UcxEndpoint* endpoint, uint64_t tag, std::shared_ptr<void> memory, const void* data,
                     size_t size, Done done) {
  UcxOperation* operation = NewOperation(std::move(memory), std::move(done));
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.send = OnSent;
  param.user_data = operation;
  Post(operation, api_.ucp_tag_send_nbx(endpoint->handle, data, size, tag, &param));
}

UcxOperation* UcxWorker::Receive(uint64_t tag, std::shared_ptr<void> memory, void* data, size_t size,
                                 Done done) {
  UcxOperation* operation = NewOperation(std::move(memory), std::move(done));
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_RECV_INFO;
  param.cb.recv = OnReceived;
  param.user_data = operation;
  param.recv_info.tag_info = &operation->info;
  return Post(operation, api_.ucp_tag_recv_nbx(worker_, data, size, tag, ~uint64_t{0}, &param));
}

void UcxWorker::Flush(UcxEndpoint* endpoint, Done done) {
  UcxOperation* operation = NewOperation(nullptr, std::move(done));
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.send = OnSent;
  param.user_data = operation;
  Post(operation, api_.ucp_ep_flush_nbx(endpoint->handle, &param));
}

void UcxWorker::Cancel(UcxOperation* operation) {
  if (worker_ != nullptr && operation->request != nullptr)
    api_.ucp_request_cancel(worker_, operation->request);
}

void UcxWorker::Progress() {
  if (worker_ == nullptr || in_progress_) return;
  in_progress_ = true;
  // Bounded, so that one busy connection cannot keep the lock.
  for (int i = 0; i < 64 && api_.ucp_worker_progress(worker_) != 0; ++i) {
  }
  in_progress_ = false;
  while (!deferred_.empty()) {
    const auto work = std::exchange(deferred_, {});
    for (const auto& item : work) item();
  }
  DriveClosing();
}

bool UcxWorker::Wait(Lock& lock, UcxWaiter& waiter, Deadline deadline, const std::function<bool()>& ready) {
  if (ready()) return true;
  ++waiting_;
  ++activity_;
  const auto spin_until = Clock::now() + SpinTime();
  bool is_ready = false;
  for (;;) {
    Progress();
    is_ready = ready();
    const auto now = Clock::now();
    if (is_ready || now >= deadline) break;
    if (now < spin_until) {
      lock.unlock();
      Pause();
      lock.lock();
      continue;
    }
    if (worker_ != nullptr && api_.ucp_worker_arm(worker_) == UCS_ERR_BUSY) {
      lock.unlock();
      lock.lock();
      continue;
    }
    waiter.sleeping_ = true;
    sleepers_.insert(&waiter);
    SleepOnEvents(lock, waiter.event_fd_, PollTimeout(deadline, 1000));
    sleepers_.erase(&waiter);
    waiter.sleeping_ = false;
  }
  --waiting_;
  return is_ready;
}

void UcxWorker::SleepOnEvents(Lock& lock, int event_fd, int timeout_ms) {
  pollfd polled[2] = {{event_fd, POLLIN, 0}, {worker_ != nullptr ? ucx_fd_ : -1, POLLIN, 0}};
  lock.unlock();
  poll(polled, 2, timeout_ms);
  if ((polled[0].revents & POLLIN) != 0) Drain(event_fd);
  lock.lock();
}

void UcxWorker::ProgressThread() {
  Lock lock = Acquire();
  uint64_t seen = activity_;
  milliseconds tick{1};
  while (!closing_) {
    Progress();
    if (waiting_ > 0 || activity_ != seen) {
      // An operation makes the progress. This thread looks in now and then: what comes between two operations
      // is served, and an event that one of several sleepers consumed is not lost to the others.
      tick = activity_ != seen ? milliseconds(1) : std::min(tick * 2, milliseconds(4));
      seen = activity_;
      idle_.wait_for(lock, tick);
      continue;
    }
    if (api_.ucp_worker_arm(worker_) == UCS_ERR_BUSY) continue;
    const bool any_closing = std::any_of(endpoints_.begin(), endpoints_.end(),
                                         [](const auto& endpoint) { return endpoint->closing; });
    SleepOnEvents(lock, stop_fd_, any_closing ? 10 : 1000);
  }
  TearDown(lock);
}

void UcxWorker::TearDown(Lock& lock) {
  const auto give_up = Clock::now() + kTearDownTime;
  for (auto& endpoint : endpoints_) {
    endpoint->on_lost = nullptr;
    endpoint->close_by =
        endpoint->closing ? std::min(endpoint->close_by, Clock::now() + milliseconds(200)) : Clock::now();
    endpoint->closing = true;
  }
  const std::vector<UcxOperation*> posted(operations_.begin(), operations_.end());
  for (UcxOperation* operation : posted)
    if (operations_.count(operation) != 0) Cancel(operation);
  while ((!endpoints_.empty() || !operations_.empty() || waiting_ > 0) && Clock::now() < give_up) {
    Progress();
    if (waiting_ > 0) {
      idle_.wait_for(lock, milliseconds(1));
    } else if (!endpoints_.empty() || !operations_.empty()) {
      SleepOnEvents(lock, stop_fd_, 1);
    }
  }
  // An endpoint that does not close in time keeps UCX: memory is lost then, and nobody hangs.
  if (endpoints_.empty()) {
    api_.ucp_worker_destroy(worker_);
    api_.ucp_cleanup(context_);
    for (UcxOperation* operation : operations_) delete operation;
  }
  operations_.clear();
  deferred_.clear();
  worker_ = nullptr;
  closed_ = true;
  closed_changed_.notify_all();
}

UcxWorker::~UcxWorker() {
  if (thread_.joinable()) thread_.detach();  // it has ended: it holds a reference until then
  if (stop_fd_ >= 0) close(stop_fd_);
}

Status UcxWorker::Create(const UcxApi& api, const std::optional<std::string>& interface_name,
                         std::shared_ptr<UcxWorker>* out) {
  char host[65] = {};
  gethostname(host, sizeof(host) - 1);
  std::shared_ptr<UcxWorker> worker(
      new UcxWorker(api, std::string(host) + "/" + interface_name.value_or("any interface")));
  Status status = worker->Init(interface_name);
  if (!status.ok()) {
    if (worker->worker_ != nullptr) api.ucp_worker_destroy(worker->worker_);
    if (worker->context_ != nullptr) api.ucp_cleanup(worker->context_);
    return status;
  }
  worker->thread_ = std::thread([worker] { worker->ProgressThread(); });
  *out = std::move(worker);
  return status;
}

}  // namespace skein::transport
