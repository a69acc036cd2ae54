// SPDX-License-Identifier: Apache-2.0
// Choosing the next token from logits. Order: repeat penalty, temperature, top-k, top-p, min-p, draw. The same seed gives the same
// tokens on every machine: the generator and exp are ours.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace nibble {

struct SamplingParams {
  float temperature = 0;  // 0: the best token, ties to the lowest id
  int64_t top_k = 0;      // 0: all
  float top_p = 1, min_p = 0;
  float repeat_penalty = 1;  // divides positive and multiplies negative logits of tokens seen in the last repeat_window
  int64_t repeat_window = 64;
  uint64_t seed = 0;
};

// Usage error naming the value that is out of range.
Status CheckSampling(const SamplingParams& params);

class Sampler {
 public:
  explicit Sampler(const SamplingParams& params);
  // logits [vocab]; history: prompt and generated tokens so far.
  int32_t Next(std::span<const float> logits, std::span<const int32_t> history);

 private:
  double Uniform();  // [0, 1)
  void Penalize(std::span<const int32_t> history);

  SamplingParams params_;
  uint64_t state_;
  std::vector<float> logits_;
  std::vector<int32_t> order_;
};

}  // namespace nibble
