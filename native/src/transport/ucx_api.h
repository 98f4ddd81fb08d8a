#pragma once

#include <ucp/api/ucp.h>

#include <string>

#include "skein/status.h"

namespace skein::transport {

/// The functions of libucp (and one of libucs, which it brings along) that the transport calls.
#define SKEIN_UCX_FUNCTIONS(F)  \
  F(ucp_get_version)            \
  F(ucp_config_read)            \
  F(ucp_config_modify)          \
  F(ucp_config_release)         \
  F(ucp_init_version)           \
  F(ucp_cleanup)                \
  F(ucp_worker_create)          \
  F(ucp_worker_destroy)         \
  F(ucp_worker_get_address)     \
  F(ucp_worker_release_address) \
  F(ucp_worker_get_efd)         \
  F(ucp_worker_arm)             \
  F(ucp_worker_progress)        \
  F(ucp_ep_create)              \
  F(ucp_ep_close_nbx)           \
  F(ucp_ep_flush_nbx)           \
  F(ucp_tag_send_nbx)           \
  F(ucp_tag_recv_nbx)           \
  F(ucp_request_cancel)         \
  F(ucp_request_free)           \
  F(ucs_status_string)

struct UcxApi {
#define SKEIN_UCX_MEMBER(name) decltype(&::name) name = nullptr;
  SKEIN_UCX_FUNCTIONS(SKEIN_UCX_MEMBER)
#undef SKEIN_UCX_MEMBER
};

/// Opens libucp.so.0 once per process; it is never unloaded. `*out` lives forever. kUnavailable with one line
/// that says why and what to do. Sets UCX_HANDLE_ERRORS, UCX_ERROR_SIGNALS, UCX_MEM_EVENTS and, unless it is
/// set, UCX_LOG_LEVEL in this process' environment, because UCX reads them when it is loaded: so the first
/// call belongs to a thread that no other thread's getenv can meet (Node's main thread, at start).
Status LoadUcx(const UcxApi** out);

}  // namespace skein::transport
