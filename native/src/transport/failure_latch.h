#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "skein/status.h"

namespace skein::transport {

/// Why a channel is over: set once, from any thread; the first reason stays.
class FailureLatch {
 public:
  /// True when this call was the first.
  bool Set(Code code, const std::string& reason) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failed_.load(std::memory_order_relaxed)) return false;
    status_ = Status(code, reason);
    failed_.store(true, std::memory_order_seq_cst);
    return true;
  }
  bool failed() const { return failed_.load(std::memory_order_seq_cst); }
  Status status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

 private:
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  Status status_;
};

/// Marks the one operation that may run on a channel; `entered()` is false when another one is running.
class OperationGuard {
 public:
  explicit OperationGuard(std::atomic<bool>& running)
      : running_(running), entered_(!running.exchange(true)) {}
  ~OperationGuard() {
    if (entered_) running_.store(false);
  }
  OperationGuard(const OperationGuard&) = delete;
  OperationGuard& operator=(const OperationGuard&) = delete;
  bool entered() const { return entered_; }

 private:
  std::atomic<bool>& running_;
  const bool entered_;
};

}  // namespace skein::transport
