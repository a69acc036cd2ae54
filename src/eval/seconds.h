// SPDX-License-Identifier: Apache-2.0
// The clock of measurements.
#pragma once

#include <chrono>

namespace nibble {

using Clock = std::chrono::steady_clock;
inline double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

}  // namespace nibble
