#include "transport/ucx_api.h"

#include <dlfcn.h>

#include <cstdlib>

namespace skein::transport {
namespace {

constexpr char kRemedy[] = "; install UCX 1.12 or later (Debian and Ubuntu: libucx0)";

struct Loaded {
  UcxApi api;
  Status status;
};

Loaded Load() {
  Loaded loaded;
  // A dead peer is an error of an operation: UCX must neither abort, nor freeze, nor take over the process'
  // signals, nor patch its memory calls. What goes wrong is in the statuses; its log would go to stdout.
  setenv("UCX_HANDLE_ERRORS", "none", 1);
  setenv("UCX_ERROR_SIGNALS", "", 1);
  setenv("UCX_MEM_EVENTS", "n", 1);
  setenv("UCX_LOG_LEVEL", "fatal", 0);

  void* library = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    loaded.status = {Code::kUnavailable, std::string("libucp.so.0 cannot be used (") +
                                             (why ? why : "unknown reason") + ")" + kRemedy};
    return loaded;
  }
  std::string missing;
#define SKEIN_UCX_LOOKUP(name)                                                  \
  loaded.api.name = reinterpret_cast<decltype(&::name)>(dlsym(library, #name)); \
  if (loaded.api.name == nullptr) missing += missing.empty() ? #name : ", " #name;
  SKEIN_UCX_FUNCTIONS(SKEIN_UCX_LOOKUP)
#undef SKEIN_UCX_LOOKUP
  if (!missing.empty()) {
    loaded.status = {Code::kUnavailable, "libucp.so.0 has no " + missing + kRemedy};
    return loaded;
  }
  unsigned major = 0, minor = 0, patch = 0;
  loaded.api.ucp_get_version(&major, &minor, &patch);
  if (major != 1 || minor < 12)
    loaded.status = {Code::kUnavailable,
                     "libucp.so.0 is UCX " + std::to_string(major) + "." + std::to_string(minor) + kRemedy};
  return loaded;
}

}  // namespace

Status LoadUcx(const UcxApi** out) {
  static const Loaded& loaded = *new Loaded(Load());
  *out = loaded.status.ok() ? &loaded.api : nullptr;
  return loaded.status;
}

}  // namespace skein::transport
