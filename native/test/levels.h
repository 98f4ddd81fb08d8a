#pragma once

#include <functional>

namespace skein::test {

/// Calls `body` once per instruction level that is compiled and that this processor has.
void ForEachLevel(const std::function<void()>& body);

}  // namespace skein::test
