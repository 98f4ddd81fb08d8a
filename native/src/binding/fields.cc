#include "binding/fields.h"

#include <cmath>

namespace skein::binding {

void Field::Fail(const std::string& need) const {
  throw ToError(value_.Env(), {Code::kInvalidArgument, path_ + " must be " + need});
}

Field Field::operator[](const char* name) const {
  if (!value_.IsObject()) Fail("an object");
  return {value_.As<Napi::Object>().Get(name), path_ + "." + name};
}

Field Field::at(uint32_t index) const {
  return {value_.As<Napi::Array>().Get(index), path_ + "[" + std::to_string(index) + "]"};
}

uint32_t Field::length() const {
  if (!value_.IsArray()) Fail("an array");
  return value_.As<Napi::Array>().Length();
}

std::string Field::String() const {
  if (!value_.IsString()) Fail("a string");
  std::string text = value_.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) Fail("a string without NUL");
  return text;
}

double Field::Number() const {
  if (!value_.IsNumber()) Fail("a number");
  const double number = value_.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) Fail("a finite number");
  return number;
}

int64_t Field::Integer(int64_t low, int64_t high) const {
  const double number = Number();
  if (number != std::floor(number) || number < static_cast<double>(low) ||
      number > static_cast<double>(high)) {
    Fail("an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<int64_t>(number);
}

bool Field::Boolean() const {
  if (!value_.IsBoolean()) Fail("a boolean");
  return value_.As<Napi::Boolean>().Value();
}

Napi::Float32Array Field::Float32Array() const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    Fail("a Float32Array");
  }
  return value_.As<Napi::Float32Array>();
}

Napi::Function Field::Function() const {
  if (!value_.IsFunction()) Fail("a function");
  return value_.As<Napi::Function>();
}

}  // namespace skein::binding
