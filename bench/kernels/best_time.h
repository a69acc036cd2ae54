// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace nibble {

// The least seconds of three or more runs, for at least 0.3 s: what a shared machine disturbs least.
template <typename Run>
double BestTime(const Run& run) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double best = 0;
  for (int count = 0; count < 3 || Clock::now() - begin < std::chrono::milliseconds(300); ++count) {
    const auto start = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = count == 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

}  // namespace nibble
