// SPDX-License-Identifier: Apache-2.0
// Checks for our own bugs: print the condition with its values and abort. Never for input: that is Status.
#pragma once

#include <fmt/core.h>

namespace nibble {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const std::string& values);
}  // namespace nibble

#define NIBBLE_CHECK(condition, ...)                                                                                             \
  do {                                                                                                                           \
    if (__builtin_expect(!(condition), 0)) ::nibble::CheckFailed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

#ifdef NDEBUG
#define NIBBLE_DCHECK(condition, ...) \
  do {                                \
  } while (false)
#else
#define NIBBLE_DCHECK(condition, ...) NIBBLE_CHECK(condition, __VA_ARGS__)
#endif
