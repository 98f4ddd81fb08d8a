#include "cpu/cpu_device.h"

#include <string>

#include "cpu/cpu_backend.h"
#include "hwy/highway.h"

namespace skein::cpu {

Status CpuDevice::Create(size_t threads, std::shared_ptr<CpuDevice>* out) {
  constexpr size_t kMaxThreads = 1024;
  if (threads == 0 || threads > kMaxThreads) {
    return {Code::kInvalidArgument, "threads is " + std::to_string(threads) + ", needs 1 to 1024"};
  }
  out->reset(new CpuDevice(threads));
  return Status::Ok();
}

const char* CpuDevice::instruction_level() const {
  // The best target that was compiled and that this processor has: what dynamic dispatch chooses.
  const int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(usable & -usable);
}

Status CpuDevice::CreateBackend(const Program& program, const std::atomic<bool>& cancelled,
                                std::unique_ptr<Backend>* out) {
  auto backend = std::make_unique<CpuBackend>(program, &pool_, cancelled);
  if (Status s = backend->Init(); !s.ok()) return s;
  *out = std::move(backend);
  return Status::Ok();
}

}  // namespace skein::cpu
