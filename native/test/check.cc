#include "check.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace skein::test {
namespace {

struct Case {
  const char* name;
  std::function<void()> body;
};

std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

}  // namespace

Registration::Registration(const char* name, std::function<void()> body) {
  Cases().push_back({name, std::move(body)});
}

void Fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

void CheckOk(const char* file, int line, const char* text, const Status& status) {
  if (!status.ok()) Fail(file, line, std::string(text) + " failed: " + status.message());
}

std::string Shown(const std::string& value) { return value; }
std::string Shown(long long value) { return std::to_string(value); }
std::string Shown(unsigned long long value) { return std::to_string(value); }
std::string Shown(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

int RunAll(int argc, char** argv) {
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
