#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "binding/bindings.h"
#include "binding/channel_binding.h"
#include "binding/fields.h"
#include "transport/transport.h"

namespace skein::binding {
namespace {

using transport::AddressOrder;
using transport::Transport;
using transport::TransportKind;

constexpr size_t kNameBytesMax = 200;

/// What the objects of one environment share.
struct Shared {
  std::shared_ptr<TaskRunner> tasks;
  Napi::FunctionReference transport, send_channel, receive_channel;
};

std::string ReadName(const Field& field) {
  std::string name = field.String();
  if (name.empty() || name.size() > kNameBytesMax)
    field.Fail("1 to " + std::to_string(kNameBytesMax) + " bytes long");
  return name;
}

TransportKind ReadKind(const Field& field) {
  const std::string kind = field.String();
  if (kind == "shm") return TransportKind::kShm;
  if (kind != "tcp") field.Fail("'shm' or 'tcp'");
  return TransportKind::kTcp;
}

/// The JS `Transport`. Its environment's end closes it and waits, so that no thread is left in UCX when the
/// process exits.
class TransportBinding : public Napi::ObjectWrap<TransportBinding> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "Transport",
        {InstanceAccessor<&TransportBinding::UcxUnavailable>("ucxUnavailable", napi_enumerable),
         InstanceMethod<&TransportBinding::OpenReceive>("openReceive"),
         InstanceMethod<&TransportBinding::OpenSend>("openSend"),
         InstanceMethod<&TransportBinding::Close>("close")});
  }
  explicit TransportBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

  void Init(std::shared_ptr<Transport> transport, std::shared_ptr<Shared> shared) {
    transport_ = std::move(transport);
    shared_ = std::move(shared);
    shared_->tasks->Keep(transport_);
  }

 private:
  Transport& transport(Napi::Env env) const {
    if (transport_ == nullptr)
      throw ToError(env, {Code::kInvalidArgument, "transport must come from createTransport"});
    return *transport_;
  }

  Napi::Value UcxUnavailable(const Napi::CallbackInfo& info) {
    const Status& status = transport(info.Env()).ucx_status();
    return status.ok() ? info.Env().Null() : Napi::String::New(info.Env(), status.message());
  }

  Napi::Value OpenReceive(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Field options(info[0], "options");
    const std::string name = ReadName(options["name"]);
    const TransportKind kind = ReadKind(options["transport"]);
    const auto capacity = static_cast<size_t>(options["capacityBytes"].Integer(1, int64_t{1} << 30));
    std::shared_ptr<ReceiveChannel> channel;
    std::vector<uint8_t> descriptor;
    if (const Status s = transport(env).OpenReceive(name, kind, capacity, &channel, &descriptor); !s.ok())
      throw ToError(env, s);
    const Napi::Object object = shared_->receive_channel.New({});
    ReceiveChannelBinding::Unwrap(object)->Init(shared_->tasks, std::move(channel), std::move(descriptor));
    return object;
  }

  Napi::Value OpenSend(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Field options(info[0], "options");
    const std::string name = ReadName(options["name"]);
    const TransportKind kind = ReadKind(options["transport"]);
    std::vector<uint8_t> descriptor = ReadBytes(options["descriptor"].value(), "options.descriptor");
    const Deadline deadline = ReadDeadline(options["deadlineMs"].value(), "options.deadlineMs");
    transport(env);
    const auto channel = std::make_shared<std::shared_ptr<SendChannel>>();
    auto work = [transport = transport_, name, kind, descriptor = std::move(descriptor), deadline, channel] {
      return transport->OpenSend(name, kind, descriptor, deadline, channel.get());
    };
    return shared_->tasks->Run(env, std::move(work), [channel, shared = shared_](Napi::Env) -> Napi::Value {
      const Napi::Object object = shared->send_channel.New({});
      SendChannelBinding::Unwrap(object)->Init(shared->tasks, std::move(*channel));
      return object;
    });
  }

  void Close(const Napi::CallbackInfo& info) { transport(info.Env()).Close(); }

  std::shared_ptr<Transport> transport_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace

void InitTransport(Napi::Env env, Napi::Object exports) {
  const auto shared = std::make_shared<Shared>();
  shared->tasks = TaskRunner::Create(env);
  const auto keep = [](Napi::FunctionReference* reference, Napi::Function constructor) {
    *reference = Napi::Persistent(constructor);
    reference->SuppressDestruct();
  };
  keep(&shared->transport, TransportBinding::Define(env));
  keep(&shared->send_channel, SendChannelBinding::Define(env));
  keep(&shared->receive_channel, ReceiveChannelBinding::Define(env));
  exports.Set(
      "createTransport", Napi::Function::New(env, [shared](const Napi::CallbackInfo& info) -> Napi::Value {
        const Field options(info[0], "options");
        const Field interface_name = options["interfaceName"];
        std::optional<std::string> name;
        if (!interface_name.IsNull()) name = ReadName(interface_name);
        const auto order =
            options["prefersIpv6"].Boolean() ? AddressOrder::kIpv6First : AddressOrder::kIpv4First;
        const Napi::Object object = shared->transport.New({});
        TransportBinding::Unwrap(object)->Init(std::make_shared<Transport>(std::move(name), order), shared);
        return object;
      }));
}

}  // namespace skein::binding
