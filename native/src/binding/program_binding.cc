#include "binding/program_binding.h"

#include <chrono>
#include <cstring>
#include <memory>

#include "binding/bindings.h"
#include "binding/fields.h"

namespace skein::binding {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(100);
constexpr int64_t kMaxDeadlineMs = int64_t{24} * 3600 * 1000;

Napi::Value ToStepOutput(Napi::Env env, const StepResult& result) {
  Napi::Int32Array words = Napi::Int32Array::New(env, result.words.size());
  if (!result.words.empty())
    std::memcpy(words.Data(), result.words.data(), result.words.size() * sizeof(int32_t));
  Napi::Object output = Napi::Object::New(env);
  output.Set("words", words);
  output.Set("computeUs", static_cast<double>(result.compute_us));
  output.Set("waitUs", static_cast<double>(result.wait_us));
  return output;
}

}  // namespace

Napi::Function ProgramBinding::Define(Napi::Env env) {
  return DefineClass(
      env, "Program",
      {InstanceAccessor<&ProgramBinding::Memory>("memory", napi_enumerable),
       InstanceAccessor<&ProgramBinding::WeightCacheUse>("weightCacheUse", napi_enumerable),
       InstanceMethod<&ProgramBinding::Load>("load"), InstanceMethod<&ProgramBinding::BindSend>("bindSend"),
       InstanceMethod<&ProgramBinding::BindReceive>("bindReceive"),
       InstanceMethod<&ProgramBinding::Run>("run"), InstanceMethod<&ProgramBinding::Abort>("abort"),
       InstanceMethod<&ProgramBinding::Reset>("reset"),
       InstanceMethod<&ProgramBinding::KeepLogits>("keepLogits"),
       InstanceMethod<&ProgramBinding::LastLogits>("lastLogits"),
       InstanceMethod<&ProgramBinding::ExpertLoads>("expertLoads"),
       InstanceMethod<&ProgramBinding::Close>("close")});
}

void ProgramBinding::Init(Napi::Env env, std::unique_ptr<Runner> runner) {
  runner_ = std::move(runner);
  to_js_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "skein program", 0, 1);
  to_js_.Unref(env);
  // After the thread-safe function: hooks run last first, and closing still posts to it.
  cleanup_ = env.AddCleanupHook(
      +[](ProgramBinding* self) {
        self->cleanup_ = {};
        self->runner_->Close();
        self->to_js_.Release();
      },
      this);
}

ProgramBinding::~ProgramBinding() {
  if (runner_ == nullptr) return;
  runner_->Close();
  // The hook has released it: by now the environment may be closing it, and releasing it then waits for ever.
  if (cleanup_.IsEmpty()) return;
  cleanup_.Remove(Env());
  to_js_.Release();
}

Runner& ProgramBinding::runner(Napi::Env env) const {
  if (runner_ == nullptr) throw ToError(env, {Code::kInvalidArgument, "a Program comes from createProgram"});
  return *runner_;
}

uint64_t ProgramBinding::Open(Napi::Env env, Napi::Promise::Deferred deferred,
                              Napi::FunctionReference progress) {
  if (pending_.empty()) {
    Ref();
    to_js_.Ref(env);
  }
  const uint64_t id = next_id_++;
  pending_.emplace(id, Pending{deferred, std::move(progress)});
  return id;
}

void ProgramBinding::Deliver(Napi::Env env, Napi::Function, Message* message) {
  const std::unique_ptr<Message> owned(message);
  if (static_cast<napi_env>(env) != nullptr) message->binding->Settle(env, *message);
}

void ProgramBinding::Settle(Napi::Env env, Message& message) {
  const auto it = pending_.find(message.id);
  if (it == pending_.end()) return;
  if (!message.finished) {
    if (it->second.progress.IsEmpty()) return;
    it->second.progress.Call({Napi::Number::New(env, static_cast<double>(message.done)),
                              Napi::Number::New(env, static_cast<double>(message.total))});
    return;
  }
  const Pending pending = std::move(it->second);
  pending_.erase(it);
  if (!message.status.ok()) {
    pending.deferred.Reject(ToError(env, message.status).Value());
  } else if (message.is_step) {
    pending.deferred.Resolve(ToStepOutput(env, message.result));
  } else {
    pending.deferred.Resolve(env.Undefined());
  }
  if (pending_.empty()) {
    to_js_.Unref(env);
    Unref();
  }
}

Napi::Value ProgramBinding::Memory(const Napi::CallbackInfo& info) {
  const Program& program = runner(info.Env()).program();
  Napi::Object memory = Napi::Object::New(info.Env());
  memory.Set("weightBytes", static_cast<double>(program.weight_bytes));
  memory.Set("kvCacheBytes", static_cast<double>(program.kv_cache_bytes));
  memory.Set("bufferBytes", static_cast<double>(program.arena_bytes));
  return memory;
}

Napi::Value ProgramBinding::WeightCacheUse(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const skein::WeightCacheUse* use = runner(env).weight_cache_use();
  if (use == nullptr) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("path", use->path);
  object.Set("read", use->read);
  object.Set("written", use->written);
  object.Set("problem", use->problem.empty() ? env.Null() : Napi::String::New(env, use->problem));
  return object;
}

Napi::Value ProgramBinding::Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Runner& target = runner(env);
  const Field callback(info[0], "onProgress");
  Napi::FunctionReference progress;
  if (!callback.IsNull()) progress = Napi::Persistent(callback.Function());
  const Napi::Promise::Deferred deferred(env);
  const uint64_t id = Open(env, deferred, std::move(progress));
  auto last = std::make_shared<Clock::time_point>();
  target.Load(
      [this, id, last](uint64_t done, uint64_t total) {
        const auto now = Clock::now();
        if (now - *last < kProgressInterval) return;
        *last = now;
        auto* message = new Message{this, id, false, {}, false, {}, done, total};
        if (to_js_.NonBlockingCall(message, Deliver) != napi_ok) delete message;
      },
      [this, id](Status status) {
        auto* message = new Message{this, id, true, std::move(status), false, {}, 0, 0};
        if (to_js_.NonBlockingCall(message, Deliver) != napi_ok) delete message;
      });
  return deferred.Promise();
}

Napi::Value ProgramBinding::Run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Runner& target = runner(env);
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    Field(info[0], "input").Fail("an Int32Array");
  }
  const auto input = info[0].As<Napi::Int32Array>();
  const double deadline = Field(info[1], "deadlineMs").Number();
  if (deadline < 0 || deadline > static_cast<double>(kMaxDeadlineMs)) {
    Field(info[1], "deadlineMs").Fail("from 0 to " + std::to_string(kMaxDeadlineMs));
  }
  std::vector<int32_t> words(input.Data(), input.Data() + input.ElementLength());
  const Napi::Promise::Deferred deferred(env);
  const uint64_t id = Open(env, deferred, {});
  target.Run(std::move(words), std::chrono::milliseconds(static_cast<int64_t>(deadline)),
             [this, id](Status status, StepResult result) {
               auto* message = new Message{this, id, true, std::move(status), true, std::move(result), 0, 0};
               if (to_js_.NonBlockingCall(message, Deliver) != napi_ok) delete message;
             });
  return deferred.Promise();
}

void ProgramBinding::BindSend(const Napi::CallbackInfo& info) {
  std::shared_ptr<SendChannel> channel = UnwrapSendChannel(info[1]);
  if (channel == nullptr) Field(info[1], "channel").Fail("an open SendChannel");
  runner(info.Env()).BindSend(Field(info[0], "peer").String(), std::move(channel));
}

void ProgramBinding::BindReceive(const Napi::CallbackInfo& info) {
  std::shared_ptr<ReceiveChannel> channel = UnwrapReceiveChannel(info[1]);
  if (channel == nullptr) Field(info[1], "channel").Fail("an open ReceiveChannel");
  runner(info.Env()).BindReceive(Field(info[0], "peer").String(), std::move(channel));
}

void ProgramBinding::Abort(const Napi::CallbackInfo& info) { runner(info.Env()).Abort(); }

void ProgramBinding::Reset(const Napi::CallbackInfo& info) {
  if (const Status s = runner(info.Env()).Reset(); !s.ok()) throw ToError(info.Env(), s);
}

void ProgramBinding::KeepLogits(const Napi::CallbackInfo& info) {
  runner(info.Env()).KeepLogits(Field(info[0], "keep").Boolean());
}

Napi::Value ProgramBinding::LastLogits(const Napi::CallbackInfo& info) {
  std::vector<float> logits;
  if (!runner(info.Env()).CopyLogits(&logits)) return info.Env().Null();
  Napi::Float32Array array = Napi::Float32Array::New(info.Env(), logits.size());
  if (!logits.empty()) std::memcpy(array.Data(), logits.data(), logits.size() * sizeof(float));
  return array;
}

Napi::Value ProgramBinding::ExpertLoads(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::vector<ExpertLoad> loads = runner(env).ExpertLoads();
  Napi::Array array = Napi::Array::New(env, loads.size());
  for (uint32_t i = 0; i < loads.size(); ++i) {
    const ExpertLoad& load = loads[i];
    Napi::Uint32Array ids = Napi::Uint32Array::New(env, load.ids.size());
    Napi::Float64Array tokens = Napi::Float64Array::New(env, load.tokens.size());
    for (size_t e = 0; e < load.ids.size(); ++e) {
      ids[e] = load.ids[e];
      tokens[e] = static_cast<double>(load.tokens[e]);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("layer", load.layer);
    object.Set("ids", ids);
    object.Set("tokens", tokens);
    array[i] = object;
  }
  return array;
}

void ProgramBinding::Close(const Napi::CallbackInfo& info) { runner(info.Env()).Close(); }

}  // namespace skein::binding
