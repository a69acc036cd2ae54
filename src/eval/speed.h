// SPDX-License-Identifier: Apache-2.0
// How fast a model runs here, and how fast this machine could: medians of interleaved rounds.
#pragma once

#include <string>
#include <vector>

#include "base/progress.h"
#include "engine/engine.h"
#include "eval/roofline.h"

namespace nibble {

struct SpeedOptions {
  int64_t prompt = 512, generate = 128;
  int64_t depth = 0;  // tokens that stand before the generated ones
  int64_t batch = 1;  // sequences that decode together; their tokens are counted together
  int rounds = 5;
};

// Tokens of a sequence that measuring may need: with several, the first ones decode while the last ones' prompts are read, at most
// `step_rows` rows a step.
int64_t ContextFor(const SpeedOptions& options, int64_t step_rows);

struct SpeedResult {
  Sample prefill_tok_s, decode_tok_s;
  Roofline roofline;         // medians over the rounds
  double prefill_share = 0;  // of the f32 multiply-add peak
  double decode_share = 0;   // of read bandwidth; 0 when the weights fit in the last-level cache
  bool fits_in_cache = false;
  // Of the time of prefill and of decoding; how fast attention multiplied (its products with K and V) or read K and V, as a share
  // of peak and bandwidth. Medians over the rounds.
  double prefill_attention = 0, prefill_attention_peak = 0;
  double decode_attention = 0, decode_kv_bandwidth = 0;
};

// Every round measures each engine once, and the roofline, so that a machine that changes pace changes it for all.
Result<std::vector<SpeedResult>> MeasureSpeed(const std::vector<Engine*>& engines, const SpeedOptions& options,
                                              Progress* progress = nullptr);

}  // namespace nibble
