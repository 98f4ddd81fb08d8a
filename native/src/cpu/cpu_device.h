#pragma once

#include <memory>

#include "core/backend.h"
#include "core/thread_pool.h"

namespace skein::cpu {

/// The host's processor. The oracle of all backends.
class CpuDevice final : public Device {
 public:
  /// kInvalidArgument when `threads` is 0 or above 1024.
  static Status Create(size_t threads, std::shared_ptr<CpuDevice>* out);

  const char* instruction_level() const override;
  ThreadPool& pool() override { return pool_; }
  Status CreateBackend(const Program& program, const std::atomic<bool>& cancelled,
                       std::unique_ptr<Backend>* out) override;

 private:
  explicit CpuDevice(size_t threads) : pool_(threads) {}
  ThreadPool pool_;
};

}  // namespace skein::cpu
