#include "binding/task_runner.h"

#include <chrono>
#include <thread>
#include <utility>

#include "binding/bindings.h"

namespace skein::binding {
namespace {

constexpr auto kEndTime = std::chrono::milliseconds(3000);

}  // namespace

std::shared_ptr<TaskRunner> TaskRunner::Create(Napi::Env env) {
  auto runner = std::make_shared<TaskRunner>();
  runner->to_js_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "skein transport", 0, 1);
  runner->to_js_.Unref(env);
  // After the thread-safe function: hooks run last first, and the ending calls still post to it.
  env.AddCleanupHook(
      +[](std::shared_ptr<TaskRunner>* kept) {
        (*kept)->End();
        delete kept;
      },
      new std::shared_ptr<TaskRunner>(runner));
  return runner;
}

void TaskRunner::Keep(const std::shared_ptr<transport::Transport>& transport) {
  std::erase_if(transports_,
                [](const auto& kept) { return kept->closed() && kept->WaitClosed(Clock::now()); });
  transports_.push_back(transport);
}

Napi::Promise TaskRunner::Run(Napi::Env env, std::function<Status()> work,
                              std::function<Napi::Value(Napi::Env)> result) {
  const uint64_t id = next_id_++;
  const auto deferred = Napi::Promise::Deferred::New(env);
  pending_.emplace(id, Pending{deferred, std::move(result)});
  if (pending_.size() == 1) to_js_.Ref(env);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++running_;
  }
  std::thread([self = shared_from_this(), id, work = std::move(work)]() mutable {
    auto* outcome = new Outcome{self, id, work()};
    work = nullptr;
    if (self->to_js_.BlockingCall(outcome, Deliver) != napi_ok) delete outcome;
    const std::lock_guard<std::mutex> lock(self->mutex_);
    --self->running_;
    self->changed_.notify_all();
  }).detach();
  return deferred.Promise();
}

void TaskRunner::Deliver(Napi::Env env, Napi::Function, Outcome* outcome) {
  const std::unique_ptr<Outcome> owned(outcome);
  if (env == nullptr) return;
  try {
    owned->runner->Settle(env, *owned);
  } catch (const Napi::Error&) {
    // The environment is ending: nobody waits for the promise.
  }
}

void TaskRunner::Settle(Napi::Env env, const Outcome& outcome) {
  const auto found = pending_.find(outcome.id);
  const Pending pending = std::move(found->second);
  pending_.erase(found);
  if (pending_.empty()) to_js_.Unref(env);
  const Napi::HandleScope scope(env);
  if (outcome.status.ok()) {
    pending.deferred.Resolve(pending.result(env));
  } else {
    pending.deferred.Reject(ToError(env, outcome.status).Value());
  }
}

void TaskRunner::End() {
  const auto give_up = Clock::now() + kEndTime;
  for (const auto& transport : transports_) transport->Close();
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_until(lock, give_up, [&] { return running_ == 0; });
  }
  for (const auto& transport : transports_) transport->WaitClosed(give_up);
  transports_.clear();
}

}  // namespace skein::binding
