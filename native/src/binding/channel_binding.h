#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "binding/task_runner.h"
#include "skein/channel.h"

namespace skein::binding {

/// The deadline `milliseconds` (0 to a day) from now; throws ERR_INVALID_ARGUMENT.
Deadline ReadDeadline(Napi::Value milliseconds, const char* path);
std::vector<uint8_t> ReadBytes(Napi::Value value, const char* path);

/// The JS `SendChannel`. After close() it keeps the last counters and lets the channel go; a program that is
/// bound to it, or a running operation, keeps the channel itself until it has seen the failure.
class SendChannelBinding : public Napi::ObjectWrap<SendChannelBinding> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit SendChannelBinding(const Napi::CallbackInfo& info);
  void Init(std::shared_ptr<TaskRunner> tasks, std::shared_ptr<SendChannel> channel) {
    tasks_ = std::move(tasks);
    channel_ = std::move(channel);
  }
  static std::shared_ptr<SendChannel> Get(Napi::Value value);

 private:
  Napi::Value Counters(const Napi::CallbackInfo& info);
  Napi::Value TestSend(const Napi::CallbackInfo& info);
  void Fail(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  std::shared_ptr<TaskRunner> tasks_;
  std::shared_ptr<SendChannel> channel_;
  ChannelCounters last_;
};

/// The JS `ReceiveChannel`; likewise.
class ReceiveChannelBinding : public Napi::ObjectWrap<ReceiveChannelBinding> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit ReceiveChannelBinding(const Napi::CallbackInfo& info);
  void Init(std::shared_ptr<TaskRunner> tasks, std::shared_ptr<ReceiveChannel> channel,
            std::vector<uint8_t> descriptor) {
    tasks_ = std::move(tasks);
    channel_ = std::move(channel);
    descriptor_ = std::move(descriptor);
  }
  static std::shared_ptr<ReceiveChannel> Get(Napi::Value value);

 private:
  Napi::Value Descriptor(const Napi::CallbackInfo& info);
  Napi::Value Counters(const Napi::CallbackInfo& info);
  Napi::Value TestReceive(const Napi::CallbackInfo& info);
  void Fail(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  std::shared_ptr<TaskRunner> tasks_;
  std::shared_ptr<ReceiveChannel> channel_;
  std::vector<uint8_t> descriptor_;
  ChannelCounters last_;
};

}  // namespace skein::binding
