// SPDX-License-Identifier: Apache-2.0
// Which format for this machine, memory and quality: every format that nibble makes while loading, its memory for this model and
// what it costs in quality, measured on the bundled model.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/plan.h"

namespace nibble {

struct MeasuredFormat {
  std::string_view name;  // of formats/online.h
  double bits = 0;        // per weight, scales counted
  double kl = 0;          // KL(float || format) in nats, weights alone
};
// By rising bits, 16-bit floats last (KL 0).
const std::vector<MeasuredFormat>& MeasuredFormats();

struct AdviceRow {
  MeasuredFormat format;
  int64_t weights_bytes = 0, total_bytes = 0;
  bool fits = false, good_enough = false;
  bool dominated = false;  // another format has no more bits and a smaller KL
};
struct Advice {
  std::vector<AdviceRow> rows;  // by rising bits
  int chosen = -1;              // index, or -1: nothing fits
  std::string reason;           // one paragraph
  int64_t kv_bytes = 0, scratch_bytes = 0;
};

// Decoding reads every weight once a token, so of the formats that fit `available` bytes and cost at most max_kl the one with the
// fewest bits is the fastest: it is chosen. When none is good enough, the best one that fits.
Result<Advice> Advise(const Checkpoint& checkpoint, const ModelConfig& config, const PlanOptions& options, int64_t available,
                      double max_kl);

}  // namespace nibble
