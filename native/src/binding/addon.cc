#include <napi.h>

#include "binding/bindings.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  skein::binding::InitCompute(env, exports);
  skein::binding::InitTransport(env, exports);
  return exports;
}

NODE_API_MODULE(skein, Init)
