#pragma once

#include <napi.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "skein/status.h"
#include "transport/transport.h"

namespace skein::binding {

/// Runs the blocking calls of one environment's transports, each on a thread of its own, and settles their
/// promises on the JS thread. libuv's pool is not used: Node waits for it before it runs any cleanup hook, so
/// a blocked call would hold up the end of the environment until its deadline.
class TaskRunner : public std::enable_shared_from_this<TaskRunner> {
 public:
  /// On the environment's JS thread, as all but the work itself. At the environment's end the hook installed
  /// here closes every transport, which ends the blocked calls, and waits for both.
  static std::shared_ptr<TaskRunner> Create(Napi::Env env);

  /// Keeps the transport until it is closed and UCX is down, or the environment ends: channels may outlive
  /// its JS object.
  void Keep(const std::shared_ptr<transport::Transport>& transport);
  /// The promise gets `result()`, or the status of `work` as an error. It keeps the event loop alive.
  Napi::Promise Run(Napi::Env env, std::function<Status()> work,
                    std::function<Napi::Value(Napi::Env)> result);

 private:
  struct Pending {
    Napi::Promise::Deferred deferred;
    std::function<Napi::Value(Napi::Env)> result;
  };
  struct Outcome {
    std::shared_ptr<TaskRunner> runner;
    uint64_t id;
    Status status;
  };

  static void Deliver(Napi::Env env, Napi::Function, Outcome* outcome);
  void Settle(Napi::Env env, const Outcome& outcome);
  void End();

  Napi::ThreadSafeFunction to_js_;
  std::map<uint64_t, Pending> pending_;
  uint64_t next_id_ = 0;
  std::vector<std::shared_ptr<transport::Transport>> transports_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;  ///< threads; guarded by mutex_
};

}  // namespace skein::binding
