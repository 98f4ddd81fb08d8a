#include "binding/bindings.h"

namespace skein::binding {
namespace {

const char* CodeString(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return "ERR_INVALID_ARGUMENT";
    case Code::kStepInput:
      return "ERR_STEP_INPUT";
    case Code::kDeadline:
      return "ERR_STEP_DEADLINE";
    case Code::kPeerLost:
      return "ERR_PEER_LOST";
    case Code::kAborted:
      return "ERR_ABORTED";
    case Code::kUnavailable:
      return "ERR_UNAVAILABLE";
    case Code::kFile:
      return "ERR_FILE";
    case Code::kOk:
    case Code::kInternal:
      break;
  }
  return "ERR_INTERNAL";
}

}  // namespace

Napi::Error ToError(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message());
  error.Set("code", Napi::String::New(env, CodeString(status.code())));
  return error;
}

}  // namespace skein::binding
