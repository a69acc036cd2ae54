// SPDX-License-Identifier: Apache-2.0
// Perplexity of a text, and how far one model's predictions are from another's.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/status.h"
#include "engine/engine.h"

namespace nibble {

enum class EvalProtocol : uint8_t {
  kWindows,   // windows of C targets do not overlap; each is predicted from BOS and the window's own tokens
  kLlamaCpp,  // chunks of C tokens, the first replaced by BOS; the second half of each is scored
};

struct EvalOptions {
  int64_t context = 256;
  EvalProtocol protocol = EvalProtocol::kWindows;
  int32_t bos = -1;         // -1: the tokenizer has none
  int64_t max_windows = 0;  // 0: all
};

struct Divergence {  // KL(other || this) in nats, over scored positions
  double mean = 0, mean_stderr = 0, median = 0, p99 = 0, max = 0;
  double top1_agreement = 0;
};

struct EvalResult {
  double perplexity = 0, perplexity_stderr = 0, mean_nll = 0;
  int64_t tokens = 0;  // scored
  double seconds = 0;
  std::optional<Divergence> against;
};

// One window: what goes in, and which rows are scored against which token.
struct EvalWindow {
  std::vector<int32_t> input;
  int64_t first_row = 0;         // rows [first_row, input.size()) are scored ...
  std::vector<int32_t> targets;  // ... against these
};
// The last partial window is dropped. Usage error when the text is shorter than one window.
Result<std::vector<EvalWindow>> MakeWindows(const std::vector<int32_t>& text, const EvalOptions& options);

// `other` may be null. Both must have the same vocabulary (Usage error).
Result<EvalResult> Evaluate(Engine& engine, Engine* other, const std::vector<EvalWindow>& windows, Progress* progress = nullptr);

// Logits at every position of every row: tokens [rows][length] -> callback(row, position, logits).
Status ForEachLogits(Engine& engine, const std::vector<std::vector<int32_t>>& rows,
                     const std::function<void(int64_t row, int64_t position, const float* logits)>& visit);

}  // namespace nibble
