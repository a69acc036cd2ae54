// SPDX-License-Identifier: Apache-2.0
// Where the library's warnings go. The library never prints: a program installs a sink (the command line writes to stderr).
#pragma once

#include <fmt/core.h>

#include <functional>
#include <string>

namespace nibble {

enum class LogLevel : unsigned char { kInfo, kWarning };
using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink (default: drops everything). Thread-safe.
void SetLogSink(LogSink sink);
void Log(LogLevel level, const std::string& message);

template <typename... Args>
void Warn(fmt::format_string<Args...> format, Args&&... args) {
  Log(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  Log(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace nibble
