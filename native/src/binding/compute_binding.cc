#include <memory>

#include "binding/bindings.h"
#include "binding/device_binding.h"
#include "binding/fields.h"
#include "binding/program_binding.h"
#include "binding/read_spec.h"
#include "core/program.h"
#include "cpu/ceilings.h"
#include "cpu/cpu_device.h"

namespace skein::binding {
namespace {

/// A class constructor kept for the life of the environment.
std::shared_ptr<Napi::FunctionReference> Keep(Napi::Function constructor) {
  auto reference = std::make_shared<Napi::FunctionReference>(Napi::Persistent(constructor));
  reference->SuppressDestruct();
  return reference;
}

class CeilingsWorker : public Napi::AsyncWorker {
 public:
  CeilingsWorker(Napi::Env env, size_t threads, double seconds, size_t read_bytes)
      : AsyncWorker(env, "skein ceilings"),
        deferred_(env),
        threads_(threads),
        seconds_(seconds),
        read_bytes_(read_bytes) {}
  Napi::Promise Promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { status_ = cpu::MeasureCeilings(threads_, seconds_, read_bytes_, &ceilings_); }
  void OnOK() override {
    if (!status_.ok()) return deferred_.Reject(ToError(Env(), status_).Value());
    Napi::Object result = Napi::Object::New(Env());
    result.Set("fmaGflops", ceilings_.fma_gflops);
    result.Set("readGBps", ceilings_.read_gbps);
    result.Set("int4Gops", ceilings_.int4_gops);
    result.Set("int8Gops", ceilings_.int8_gops);
    deferred_.Resolve(result);
  }

 private:
  Napi::Promise::Deferred deferred_;
  size_t threads_;
  double seconds_;
  size_t read_bytes_;
  cpu::Ceilings ceilings_;
  Status status_;
};

}  // namespace

void InitCompute(Napi::Env env, Napi::Object exports) {
  exports.Set(
      "createDevice",
      Napi::Function::New(
          env,
          [constructor = Keep(DeviceBinding::Define(env))](const Napi::CallbackInfo& info) -> Napi::Value {
            const Field options(info[0], "options");
            if (options["backend"].String() != "cpu") options["backend"].Fail("'cpu'");
            std::shared_ptr<cpu::CpuDevice> device;
            const auto threads = static_cast<size_t>(options["threads"].Integer(1, 1024));
            if (const Status s = cpu::CpuDevice::Create(threads, &device); !s.ok())
              throw ToError(info.Env(), s);
            const Napi::Object object = constructor->New({});
            DeviceBinding::Unwrap(object)->Init(std::move(device));
            return object;
          }));
  exports.Set(
      "createProgram",
      Napi::Function::New(
          env,
          [constructor = Keep(ProgramBinding::Define(env))](const Napi::CallbackInfo& info) -> Napi::Value {
            const Napi::Env env = info.Env();
            std::shared_ptr<Device> device = DeviceBinding::Get(info[0]);
            Program program;
            Status status = Program::Create(ReadProgramSpec(Field(info[1], "spec")), &program);
            if (!status.ok()) throw ToError(env, status);
            std::unique_ptr<Runner> runner;
            status = Runner::Create(std::move(device), std::move(program), &runner);
            if (!status.ok()) throw ToError(env, status);
            const Napi::Object object = constructor->New({});
            ProgramBinding::Unwrap(object)->Init(env, std::move(runner));
            return object;
          }));
  exports.Set("measureCeilings", Napi::Function::New(env, [](const Napi::CallbackInfo& info) -> Napi::Value {
                const Field options(info[0], "options");
                auto* worker = new CeilingsWorker(
                    info.Env(), static_cast<size_t>(options["threads"].Integer(1, 1024)),
                    options["seconds"].Number(),
                    static_cast<size_t>(options["readBytes"].Integer(4096, int64_t{1} << 40)));
                const Napi::Promise promise = worker->Promise();
                worker->Queue();
                return promise;
              }));
}

}  // namespace skein::binding
