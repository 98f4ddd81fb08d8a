#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "skein/channel.h"

namespace skein::transport {

/// How long a waiting operation spins before it sleeps: 50 us with four or more processors, 20 us with two or
/// three, none with one (the peer could not run meanwhile).
std::chrono::nanoseconds SpinTime();

/// A hint to the processor inside a spin.
inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Sleeps while `*word == expected`, until woken or `deadline`; may return early. The word may be shared
/// between processes.
void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, Deadline deadline);
void FutexWakeAll(std::atomic<uint32_t>* word);

/// Milliseconds for poll(2), rounded up, at most `most`.
int PollTimeout(Deadline deadline, int most);

}  // namespace skein::transport
