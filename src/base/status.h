// SPDX-License-Identifier: Apache-2.0
// Errors as values. Every expected failure (bad file, bad flag, full disk) is an Error inside a Result or Status; a bug is a
// NIBBLE_CHECK (check.h). A message says what, where, found, wanted and what to do, so that a user can act without our source.
#pragma once

#include <fmt/core.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace nibble {

enum class Code : unsigned char {
  kCheckFailed,        // a quality gate or verification said no
  kUsage,              // command line or API call is wrong
  kCorrupt,            // input file or text is wrong
  kNotFound,           // named thing does not exist
  kUnsupported,        // valid, but this build or machine cannot
  kIo,                 // the operating system refused
  kResourceExhausted,  // memory, disk, device
  kCancelled,          // the user interrupted
  kInternal,           // our bug
};

// The word a message begins with ("corrupt", "unsupported", ...).
const char* CodeName(Code code);

// Process exit code: 0 is success; 1 check failed, 2 usage, 3 bad input, 4 unsupported, 5 environment, 70 bug, 130 interrupted.
int ExitCode(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;

  // "corrupt: model.safetensors: ..."
  std::string ToString() const;
  // Returns the same error with "context: " in front of its message.
  Error In(std::string_view context) &&;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

template <typename... Args>
tl::unexpected<Error> Fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}
template <typename... Args>
tl::unexpected<Error> Corrupt(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(Code::kCorrupt, format, std::forward<Args>(args)...);
}
template <typename... Args>
tl::unexpected<Error> Usage(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(Code::kUsage, format, std::forward<Args>(args)...);
}
template <typename... Args>
tl::unexpected<Error> NotFound(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(Code::kNotFound, format, std::forward<Args>(args)...);
}
template <typename... Args>
tl::unexpected<Error> Unsupported(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(Code::kUnsupported, format, std::forward<Args>(args)...);
}
// Failure of a system call: appends strerror(errno_value).
tl::unexpected<Error> IoError(int errno_value, const std::string& what);

}  // namespace nibble

#define NIBBLE_CONCAT_INNER(a, b) a##b
#define NIBBLE_CONCAT(a, b) NIBBLE_CONCAT_INNER(a, b)

// NIBBLE_TRY(auto x, F()): x = value of F(), or return its error from the enclosing function.
#define NIBBLE_TRY(lhs, ...) NIBBLE_TRY_INNER(NIBBLE_CONCAT(nibble_result_, __LINE__), lhs, __VA_ARGS__)
#define NIBBLE_TRY_INNER(result, lhs, ...)                                          \
  auto result = (__VA_ARGS__);                                                      \
  if (!result) return ::tl::unexpected<::nibble::Error>(std::move(result).error()); \
  lhs = *std::move(result)

// NIBBLE_RETURN_IF_ERROR(F()): the same for a Status.
#define NIBBLE_RETURN_IF_ERROR(...)                                                                 \
  do {                                                                                              \
    auto nibble_status = (__VA_ARGS__);                                                             \
    if (!nibble_status) return ::tl::unexpected<::nibble::Error>(std::move(nibble_status).error()); \
  } while (false)

// The same with context put in front of the message.
#define NIBBLE_TRY_IN(context, lhs, ...) NIBBLE_TRY_IN_INNER(NIBBLE_CONCAT(nibble_result_, __LINE__), context, lhs, __VA_ARGS__)
#define NIBBLE_TRY_IN_INNER(result, context, lhs, ...)                                          \
  auto result = (__VA_ARGS__);                                                                  \
  if (!result) return ::tl::unexpected<::nibble::Error>(std::move(result).error().In(context)); \
  lhs = *std::move(result)
