#pragma once

#include <napi.h>

#include <memory>

#include "core/backend.h"

namespace skein::binding {

/// The JS `Device`. Programs keep the device behind it after it is closed.
class DeviceBinding : public Napi::ObjectWrap<DeviceBinding> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit DeviceBinding(const Napi::CallbackInfo& info);
  void Init(std::shared_ptr<Device> device) { device_ = std::move(device); }

  /// The device of a JS value; throws ERR_INVALID_ARGUMENT when it is none, or closed.
  static std::shared_ptr<Device> Get(Napi::Value value);

 private:
  Device& device(Napi::Env env) const;
  Napi::Value Backend(const Napi::CallbackInfo& info);
  Napi::Value InstructionLevel(const Napi::CallbackInfo& info);
  Napi::Value Threads(const Napi::CallbackInfo& info);
  Napi::Value ShareProcessors(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo&) { device_.reset(); }

  std::shared_ptr<Device> device_;
};

}  // namespace skein::binding
