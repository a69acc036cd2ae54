// SPDX-License-Identifier: Apache-2.0
// What this machine could do at best: the limits that speeds are reported as shares of.
#pragma once

#include <vector>

namespace nibble {

struct Roofline {
  double read_gb_s = 0;  // all threads, buffer far larger than the caches
  // Two operations a multiply-add.
  double fma_gflop_s = 0;  // f32
  double dot8_gop_s = 0;   // 4-bit codes with 8-bit x
  double dot16_gop_s = 0;  // 8-bit codes with 16-bit x
  int threads = 1;
};
// About a second.
Roofline MeasureRoofline(int threads);

struct Sample {
  double median = 0, spread = 0;  // spread: half the distance between the slowest and the fastest round
};
Sample Summarize(std::vector<double> values);

}  // namespace nibble
