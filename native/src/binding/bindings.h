#pragma once

#include <napi.h>

#include <memory>

#include "skein/channel.h"
#include "skein/status.h"

namespace skein::binding {

/// createDevice, createProgram, measureCeilings.
void InitCompute(Napi::Env env, Napi::Object exports);
/// createTransport.
void InitTransport(Napi::Env env, Napi::Object exports);

/// An Error with `code` set to the status' `ERR_…` string.
Napi::Error ToError(Napi::Env env, const Status& status);

/// The channel behind a JS SendChannel or ReceiveChannel object; null when `value` is none or is closed. The program keeps the shared_ptr.
std::shared_ptr<SendChannel> UnwrapSendChannel(Napi::Value value);
std::shared_ptr<ReceiveChannel> UnwrapReceiveChannel(Napi::Value value);

}  // namespace skein::binding
