// SPDX-License-Identifier: Apache-2.0
// Progress of long work and the user's wish to stop it. The library reports and asks; the program draws and sets.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace nibble {

class Progress {
 public:
  virtual ~Progress() = default;
  // done of total units of `what` ("quantizing", "reading"); called often, from one thread at a time.
  virtual void Update(std::string_view what, int64_t done, int64_t total) = 0;
};

// Set by a signal handler or another thread; long loops poll it and return Code::kCancelled.
inline std::atomic<bool>& StopRequested() {
  static std::atomic<bool> stop{false};
  return stop;
}

}  // namespace nibble
