#include "cpu/quad_dots.h"

#include <atomic>

#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace skein::cpu {
namespace {

bool ProcessorHasQuadDots() {
#if defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

std::atomic<bool> use_quad_dots{ProcessorHasQuadDots()};

}  // namespace

bool UseQuadDots() { return use_quad_dots.load(std::memory_order_relaxed); }

void AllowQuadDotsForTest(bool allowed) { use_quad_dots = allowed && ProcessorHasQuadDots(); }

}  // namespace skein::cpu
