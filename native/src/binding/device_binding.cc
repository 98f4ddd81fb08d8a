#include "binding/device_binding.h"

#include <span>
#include <vector>

#include "binding/bindings.h"
#include "binding/fields.h"
#include "core/own_processor.h"

namespace skein::binding {
namespace {

constexpr napi_type_tag kDeviceTag = {0x8f3c5e1d20a94b67, 0x9d0e71c2b6a3f485};

}  // namespace

Napi::Function DeviceBinding::Define(Napi::Env env) {
  return DefineClass(env, "Device",
                     {InstanceAccessor<&DeviceBinding::Backend>("backend", napi_enumerable),
                      InstanceAccessor<&DeviceBinding::InstructionLevel>("instructionLevel", napi_enumerable),
                      InstanceAccessor<&DeviceBinding::Threads>("threads", napi_enumerable),
                      InstanceMethod<&DeviceBinding::ShareProcessors>("shareProcessors"),
                      InstanceMethod<&DeviceBinding::Close>("close")});
}

DeviceBinding::DeviceBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kDeviceTag);
}

std::shared_ptr<Device> DeviceBinding::Get(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kDeviceTag)) {
    throw ToError(value.Env(), {Code::kInvalidArgument, "device must come from createDevice"});
  }
  const DeviceBinding* binding = Unwrap(value.As<Napi::Object>());
  binding->device(value.Env());
  return binding->device_;
}

Device& DeviceBinding::device(Napi::Env env) const {
  if (device_ == nullptr) throw ToError(env, {Code::kInvalidArgument, "the device is closed"});
  return *device_;
}

Napi::Value DeviceBinding::Backend(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), "cpu");
}

Napi::Value DeviceBinding::InstructionLevel(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), device(info.Env()).instruction_level());
}

Napi::Value DeviceBinding::Threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(device(info.Env()).threads()));
}

Napi::Value DeviceBinding::ShareProcessors(const Napi::CallbackInfo& info) {
  ThreadPool& pool = device(info.Env()).pool();
  const Field share(info[0], "share");
  if (share.IsNull()) {
    pool.SetProcessors({});
    return Napi::Boolean::New(info.Env(), false);
  }
  const auto first = static_cast<size_t>(share["first"].Integer(0, INT32_MAX));
  const auto total = static_cast<size_t>(share["total"].Integer(0, INT32_MAX));
  const std::vector<int> processors = ProcessorsOfProcess();
  const bool fills = processors.size() == total && first + pool.threads() <= total;
  pool.SetProcessors(fills ? std::span(processors).subspan(first, pool.threads()) : std::span<const int>());
  return Napi::Boolean::New(info.Env(), fills);
}

}  // namespace skein::binding
