#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/runner.h"

namespace skein::binding {

/// The JS `Program`. Promises are kept here by number, so that the runner's thread carries no JS handle; the
/// object is referenced while any is open.
class ProgramBinding : public Napi::ObjectWrap<ProgramBinding> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit ProgramBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {}
  ~ProgramBinding() override;
  void Init(Napi::Env env, std::unique_ptr<Runner> runner);

 private:
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::FunctionReference progress;
  };
  /// What the runner's thread reports; deleted by Deliver.
  struct Message {
    ProgramBinding* binding;
    uint64_t id;
    bool finished;
    Status status;
    bool is_step;
    StepResult result;
    uint64_t done, total;
  };

  Napi::Value Memory(const Napi::CallbackInfo& info);
  Napi::Value Load(const Napi::CallbackInfo& info);
  Napi::Value WeightCacheUse(const Napi::CallbackInfo& info);
  void BindSend(const Napi::CallbackInfo& info);
  void BindReceive(const Napi::CallbackInfo& info);
  Napi::Value Run(const Napi::CallbackInfo& info);
  void Abort(const Napi::CallbackInfo& info);
  void Reset(const Napi::CallbackInfo& info);
  void KeepLogits(const Napi::CallbackInfo& info);
  Napi::Value LastLogits(const Napi::CallbackInfo& info);
  Napi::Value ExpertLoads(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  Runner& runner(Napi::Env env) const;
  uint64_t Open(Napi::Env env, Napi::Promise::Deferred deferred, Napi::FunctionReference progress);
  static void Deliver(Napi::Env env, Napi::Function, Message* message);
  void Settle(Napi::Env env, Message& message);

  std::unique_ptr<Runner> runner_;
  Napi::ThreadSafeFunction to_js_;
  std::map<uint64_t, Pending> pending_;
  uint64_t next_id_ = 0;
  Napi::Env::CleanupHook<void (*)(ProgramBinding*), ProgramBinding> cleanup_;
};

}  // namespace skein::binding
