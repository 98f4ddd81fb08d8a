#pragma once

#include <napi.h>

#include <string>

#include "binding/bindings.h"

namespace skein::binding {

/// A JS value and where it stands in the caller's argument. Every accessor throws ERR_INVALID_ARGUMENT naming
/// that place when the value is not what is asked for.
class Field {
 public:
  Field(Napi::Value value, std::string path) : value_(value), path_(std::move(path)) {}

  Field operator[](const char* name) const;
  Field at(uint32_t index) const;
  uint32_t length() const;
  bool IsNull() const { return value_.IsNull(); }

  std::string String() const;
  /// A finite number.
  double Number() const;
  float Float() const { return static_cast<float>(Number()); }
  /// An integer in [low, high].
  int64_t Integer(int64_t low, int64_t high) const;
  uint32_t Uint32() const { return static_cast<uint32_t>(Integer(0, UINT32_MAX)); }
  bool Boolean() const;
  Napi::Float32Array Float32Array() const;
  Napi::Function Function() const;
  Napi::Value value() const { return value_; }

  [[noreturn]] void Fail(const std::string& need) const;

 private:
  Napi::Value value_;
  std::string path_;
};

}  // namespace skein::binding
