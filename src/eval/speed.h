// SPDX-License-Identifier: Apache-2.0
// How fast a model runs here, and how fast this machine could: medians of interleaved rounds.
#pragma once

#include <string>
#include <vector>

#include "base/progress.h"
#include "engine/engine.h"

namespace nibble {

struct Roofline {
  double read_gb_s = 0;    // all threads, buffer far larger than the caches
  double fma_gflop_s = 0;  // f32, two operations a fused multiply-add
  int threads = 1;
};
// About a second.
Roofline MeasureRoofline(int threads);

struct Sample {
  double median = 0, spread = 0;  // spread: half the distance between the slowest and the fastest round
};
Sample Summarize(std::vector<double> values);

struct SpeedOptions {
  int64_t prompt = 512, generate = 128;
  int rounds = 5;
};

struct SpeedResult {
  Sample prefill_tok_s, decode_tok_s;
  Roofline roofline;         // medians over the rounds
  double prefill_share = 0;  // of the f32 multiply-add peak
  double decode_share = 0;   // of read bandwidth; 0 when the weights fit in the last-level cache
  bool fits_in_cache = false;
};

// Every round measures each engine once, and the roofline, so that a machine that changes pace changes it for all.
Result<std::vector<SpeedResult>> MeasureSpeed(const std::vector<Engine*>& engines, const SpeedOptions& options,
                                              Progress* progress = nullptr);

}  // namespace nibble
