#pragma once

#include <atomic>
#include <cstdint>

#include "transport/waiting.h"

namespace skein::transport {

/// Waits until `look()` is true: spins for SpinTime(), then sleeps on `asleep`. False at the deadline. `look`
/// may read what the peer writes before WakeSleeper, and a local flag set before WakeSleeper.
template <typename Look>
bool SpinThenSleep(std::atomic<uint32_t>* asleep, Deadline deadline, const Look& look) {
  if (look()) return true;
  auto now = Clock::now();
  const auto spin_until = now + SpinTime();
  while (now < spin_until && now < deadline) {
    for (int i = 0; i < 16; ++i) {
      Pause();
      if (look()) return true;
    }
    now = Clock::now();
  }
  for (;;) {
    asleep->store(1, std::memory_order_relaxed);
    // Pairs with the fence in WakeSleeper: either that side sees the flag, or this look sees what it wrote.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool ready = look();
    if (ready || Clock::now() >= deadline) {
      asleep->store(0, std::memory_order_relaxed);
      return ready;
    }
    FutexWait(asleep, 1, deadline);
  }
}

/// Call after the write the sleeper looks for. No system call unless it sleeps.
inline void WakeSleeper(std::atomic<uint32_t>* asleep) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (asleep->load(std::memory_order_relaxed) != 0 && asleep->exchange(0, std::memory_order_relaxed) != 0)
    FutexWakeAll(asleep);
}

}  // namespace skein::transport
