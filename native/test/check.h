#pragma once

#include <concepts>
#include <functional>
#include <string>

#include "skein/status.h"

/// The tests' only harness: `TEST(Name) { … }` registers a case. A test program runs all of its cases, or
/// those whose name contains its argument. A failed check prints where and why, and ends the process.
namespace skein::test {

/// Whether an emulator runs the tests, which takes dozens of times as long: the dearest problems are smaller
/// then.
#ifdef SKEIN_EMULATED
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

struct Registration {
  Registration(const char* name, std::function<void()> body);
};

[[noreturn]] void Fail(const char* file, int line, const std::string& what);
void CheckOk(const char* file, int line, const char* text, const Status& status);

/// As a failed check shows a value: numbers and texts; "" for all else.
std::string Shown(const std::string& value);
std::string Shown(double value);
std::string Shown(long long value);
std::string Shown(unsigned long long value);
template <typename T>
std::string Shown(const T& value) {
  if constexpr (std::floating_point<T>) {
    return Shown(static_cast<double>(value));
  } else if constexpr (std::unsigned_integral<T>) {
    return Shown(static_cast<unsigned long long>(value));
  } else if constexpr (std::integral<T>) {
    return Shown(static_cast<long long>(value));
  } else if constexpr (std::convertible_to<T, std::string>) {
    return Shown(std::string(value));
  } else {
    return {};
  }
}

template <typename A, typename B>
void CheckEqual(const char* file, int line, const char* text, const A& a, const B& b) {
  if (a == b) return;
  Fail(file, line, std::string("CHECK_EQ(") + text + ") failed: " + Shown(a) + " vs " + Shown(b));
}

/// What `main` of a test program returns.
int RunAll(int argc, char** argv);

}  // namespace skein::test

#define TEST(name)                                                                \
  static void Test##name();                                                       \
  static const ::skein::test::Registration registration##name(#name, Test##name); \
  static void Test##name()
#define CHECK(cond)                                                                  \
  do {                                                                               \
    if (!(cond)) ::skein::test::Fail(__FILE__, __LINE__, "CHECK(" #cond ") failed"); \
  } while (false)
#define CHECK_EQ(a, b) ::skein::test::CheckEqual(__FILE__, __LINE__, #a ", " #b, (a), (b))
#define CHECK_OK(status) ::skein::test::CheckOk(__FILE__, __LINE__, #status, (status))
