#include <sys/eventfd.h>

#include <cstdlib>
#include <utility>

#include "transport/ucx_worker.h"

namespace skein::transport {
namespace {

constexpr size_t kAddressBytesMax = 3072;  // a descriptor of 4 KiB holds it

Status Failed(const UcxApi& api, const std::string& what, ucs_status_t status) {
  return {Code::kUnavailable, what + ": " + api.ucs_status_string(status)};
}

void Configure(const UcxApi& api, ucp_config_t* config, const std::optional<std::string>& interface_name) {
  // Shared memory has no peer-error handling in UCX 1.13; ranks of one host have rings of their own. A
  // transport list in the environment stands.
  if (getenv("UCX_TLS") == nullptr) (void)api.ucp_config_modify(config, "TLS", "^sm,self");
  if (interface_name) (void)api.ucp_config_modify(config, "NET_DEVICES", interface_name->c_str());
  // Staging buffers are small and the receives are posted early, so a rendezvous would only add a round trip.
  (void)api.ucp_config_modify(config, "RNDV_THRESH", "inf");
  (void)api.ucp_config_modify(config, "KEEPALIVE_INTERVAL", "1s");
  for (const auto& [name, value] :
       {std::pair{"TCP_KEEPIDLE", "2s"}, {"TCP_KEEPINTVL", "1s"}, {"TCP_KEEPCNT", "2"}})
    (void)api.ucp_config_modify(config, name, value);
}

}  // namespace

Status UcxWorker::Init(const std::optional<std::string>& interface_name) {
  stop_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd_ < 0) return {Code::kUnavailable, "eventfd: no descriptor left"};

  ucp_config_t* config = nullptr;
  ucs_status_t status = api_.ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return Failed(api_, "reading the UCX configuration", status);
  Configure(api_, config, interface_name);
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  params.mt_workers_shared = 0;
  status = api_.ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context_);
  api_.ucp_config_release(config);
  if (status != UCS_OK) return Failed(api_, "UCX on " + where_, status);

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  status = api_.ucp_worker_create(context_, &worker_params, &worker_);
  if (status != UCS_OK) return Failed(api_, "UCX worker on " + where_, status);
  status = api_.ucp_worker_get_efd(worker_, &ucx_fd_);
  if (status != UCS_OK) return Failed(api_, "UCX events on " + where_, status);

  ucp_address_t* address = nullptr;
  size_t size = 0;
  status = api_.ucp_worker_get_address(worker_, &address, &size);
  if (status != UCS_OK) return Failed(api_, "UCX address on " + where_, status);
  const auto* bytes = reinterpret_cast<const uint8_t*>(address);
  address_.assign(bytes, bytes + size);
  api_.ucp_worker_release_address(worker_, address);
  if (size > kAddressBytesMax)
    return {Code::kUnavailable, "the UCX address on " + where_ + " has " + std::to_string(size) +
                                    " bytes, at most " + std::to_string(kAddressBytesMax) +
                                    " fit: choose one interface"};
  return Status::Ok();
}

}  // namespace skein::transport
