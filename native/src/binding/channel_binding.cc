#include "binding/channel_binding.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "binding/bindings.h"
#include "binding/fields.h"

namespace skein::binding {
namespace {

constexpr napi_type_tag kSendTag = {0x5b1e4c907d2f4a83, 0xa6c3f0197e58d24b};
constexpr napi_type_tag kReceiveTag = {0xc27d93a5184e4f06, 0x8fb4620de1a7395c};
constexpr int64_t kMaxDeadlineMs = int64_t{24} * 3600 * 1000;
/// What testReceive can take; untouched pages cost nothing.
constexpr size_t kTestBytesMax = size_t{64} << 20;
constexpr char kClosed[] = "the channel was closed";

Napi::Value ToCounters(Napi::Env env, const ChannelCounters& counters) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("transport", counters.transport);
  object.Set("bytes", static_cast<double>(counters.bytes));
  object.Set("messages", static_cast<double>(counters.messages));
  return object;
}

Napi::Value ToBytes(Napi::Env env, const uint8_t* data, size_t size) {
  Napi::Uint8Array bytes = Napi::Uint8Array::New(env, size);
  if (size > 0) std::memcpy(bytes.Data(), data, size);
  return bytes;
}

}  // namespace

Deadline ReadDeadline(Napi::Value milliseconds, const char* path) {
  const Field field(milliseconds, path);
  const double value = field.Number();
  if (value < 0 || value > static_cast<double>(kMaxDeadlineMs))
    field.Fail("from 0 to " + std::to_string(kMaxDeadlineMs));
  return Clock::now() + std::chrono::microseconds(static_cast<int64_t>(value * 1000));
}

std::vector<uint8_t> ReadBytes(Napi::Value value, const char* path) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    Field(value, path).Fail("a Uint8Array");
  const auto bytes = value.As<Napi::Uint8Array>();
  return {bytes.Data(), bytes.Data() + bytes.ByteLength()};
}

Napi::Function SendChannelBinding::Define(Napi::Env env) {
  return DefineClass(env, "SendChannel",
                     {InstanceMethod<&SendChannelBinding::Counters>("counters"),
                      InstanceMethod<&SendChannelBinding::TestSend>("testSend"),
                      InstanceMethod<&SendChannelBinding::Fail>("fail"),
                      InstanceMethod<&SendChannelBinding::Close>("close")});
}

SendChannelBinding::SendChannelBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kSendTag);
}

std::shared_ptr<SendChannel> SendChannelBinding::Get(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kSendTag)) return nullptr;
  return Unwrap(value.As<Napi::Object>())->channel_;
}

Napi::Value SendChannelBinding::Counters(const Napi::CallbackInfo& info) {
  return ToCounters(info.Env(), channel_ != nullptr ? channel_->counters() : last_);
}

Napi::Value SendChannelBinding::TestSend(const Napi::CallbackInfo& info) {
  if (tasks_ == nullptr)
    throw ToError(info.Env(), {Code::kInvalidArgument, "channel must come from openSend"});
  const auto step = static_cast<uint64_t>(Field(info[0], "step").Integer(0, int64_t{1} << 53));
  auto data = std::make_shared<std::vector<uint8_t>>(ReadBytes(info[1], "data"));
  const Deadline deadline = ReadDeadline(info[2], "deadlineMs");
  auto work = [channel = channel_, step, data = std::move(data), deadline] {
    return channel != nullptr ? channel->Send(step, data->data(), data->size(), deadline)
                              : Status(Code::kPeerLost, kClosed);
  };
  return tasks_->Run(info.Env(), std::move(work), [](Napi::Env env) { return env.Undefined(); });
}

void SendChannelBinding::Fail(const Napi::CallbackInfo& info) {
  const std::string reason = Field(info[0], "reason").String();
  if (channel_ != nullptr) channel_->Fail(reason);
}

void SendChannelBinding::Close(const Napi::CallbackInfo&) {
  if (channel_ == nullptr) return;
  last_ = channel_->counters();
  channel_->Fail(kClosed);
  channel_.reset();
}

Napi::Function ReceiveChannelBinding::Define(Napi::Env env) {
  return DefineClass(env, "ReceiveChannel",
                     {InstanceMethod<&ReceiveChannelBinding::Descriptor>("descriptor"),
                      InstanceMethod<&ReceiveChannelBinding::Counters>("counters"),
                      InstanceMethod<&ReceiveChannelBinding::TestReceive>("testReceive"),
                      InstanceMethod<&ReceiveChannelBinding::Fail>("fail"),
                      InstanceMethod<&ReceiveChannelBinding::Close>("close")});
}

ReceiveChannelBinding::ReceiveChannelBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kReceiveTag);
}

std::shared_ptr<ReceiveChannel> ReceiveChannelBinding::Get(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kReceiveTag)) return nullptr;
  return Unwrap(value.As<Napi::Object>())->channel_;
}

Napi::Value ReceiveChannelBinding::Descriptor(const Napi::CallbackInfo& info) {
  return ToBytes(info.Env(), descriptor_.data(), descriptor_.size());
}

Napi::Value ReceiveChannelBinding::Counters(const Napi::CallbackInfo& info) {
  return ToCounters(info.Env(), channel_ != nullptr ? channel_->counters() : last_);
}

Napi::Value ReceiveChannelBinding::TestReceive(const Napi::CallbackInfo& info) {
  struct Received {
    std::unique_ptr<uint8_t[]> data{new uint8_t[kTestBytesMax]};
    uint64_t step = 0;
    size_t size = 0;
  };
  if (tasks_ == nullptr)
    throw ToError(info.Env(), {Code::kInvalidArgument, "channel must come from openReceive"});
  const Deadline deadline = ReadDeadline(info[0], "deadlineMs");
  const auto received = std::make_shared<Received>();
  auto work = [channel = channel_, received, deadline] {
    if (channel == nullptr) return Status(Code::kPeerLost, kClosed);
    return channel->Receive(&received->step, received->data.get(), kTestBytesMax, &received->size, deadline);
  };
  return tasks_->Run(info.Env(), std::move(work), [received](Napi::Env env) -> Napi::Value {
    Napi::Object message = Napi::Object::New(env);
    message.Set("step", static_cast<double>(received->step));
    message.Set("data", ToBytes(env, received->data.get(), received->size));
    return message;
  });
}

void ReceiveChannelBinding::Fail(const Napi::CallbackInfo& info) {
  const std::string reason = Field(info[0], "reason").String();
  if (channel_ != nullptr) channel_->Fail(reason);
}

void ReceiveChannelBinding::Close(const Napi::CallbackInfo&) {
  if (channel_ == nullptr) return;
  last_ = channel_->counters();
  channel_->Fail(kClosed);
  channel_.reset();
}

std::shared_ptr<SendChannel> UnwrapSendChannel(Napi::Value value) { return SendChannelBinding::Get(value); }
std::shared_ptr<ReceiveChannel> UnwrapReceiveChannel(Napi::Value value) {
  return ReceiveChannelBinding::Get(value);
}

}  // namespace skein::binding
