#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "skein/status.h"

/// The tests' only harness: `TEST(Name) { … }` registers a case, `int main(int argc, char** argv) { return
/// RunAll(argc, argv); }` runs all, or those whose name contains argv[1]. A failed check prints where and
/// why, and ends the process.
namespace skein::test {

/// Whether an emulator runs the tests, which takes dozens of times as long: the dearest problems are smaller
/// then.
#ifdef SKEIN_EMULATED
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

struct Case {
  const char* name;
  std::function<void()> body;
};

inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

struct Registration {
  Registration(const char* name, std::function<void()> body) { Cases().push_back({name, std::move(body)}); }
};

[[noreturn]] inline void Fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

template <typename A, typename B>
void CheckEqual(const char* file, int line, const char* text, const A& a, const B& b) {
  if (a == b) return;
  std::ostringstream out;
  out << "CHECK_EQ(" << text << ") failed: ";
  if constexpr (requires { out << a << b; }) out << a << " vs " << b;
  Fail(file, line, out.str());
}

inline int RunAll(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  int ran = 0;
  for (const Case& c : Cases()) {
    if (std::string(c.name).find(filter) == std::string::npos) continue;
    c.body();
    std::printf("ok %s\n", c.name);
    std::fflush(stdout);
    ++ran;
  }
  if (ran == 0) std::fprintf(stderr, "no test matches '%s'\n", filter.c_str());
  return ran == 0;
}

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
#define CHECK_OK(status)                                                                     \
  do {                                                                                       \
    const ::skein::Status check_status = (status);                                           \
    if (!check_status.ok())                                                                  \
      ::skein::test::Fail(__FILE__, __LINE__, #status " failed: " + check_status.message()); \
  } while (false)
