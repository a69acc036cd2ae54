// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <mutex>

namespace nibble {
namespace {
std::mutex g_mutex;
LogSink g_sink;
}  // namespace

void SetLogSink(LogSink sink) {
  const std::lock_guard lock(g_mutex);
  g_sink = std::move(sink);
}

void Log(LogLevel level, const std::string& message) {
  const std::lock_guard lock(g_mutex);
  if (g_sink) g_sink(level, message);
}

}  // namespace nibble
