// SPDX-License-Identifier: Apache-2.0
// Text in, text out: one prompt through the engine, streamed as whole UTF-8 characters, ended by tokens or by stop strings.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

struct GenerateOptions {
  int64_t max_tokens = -1;
  SamplingParams sampling;
  std::vector<int32_t> eos;       // token ids that end the text
  std::vector<std::string> stop;  // strings that end it; not delivered
  bool skip_special = true;
};

struct Generation {
  std::vector<int32_t> tokens;
  std::string text;
  Finish finish = Finish::kNone;
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0, decode_seconds = 0;
};

// on_text gets pieces as they are certain: never half a character, never the beginning of a stop string. `tokenizer` may be null:
// then no text is made and stop strings are a Usage error.
Result<Generation> Generate(Engine& engine, const Tokenizer* tokenizer, std::vector<int32_t> prompt, const GenerateOptions& options,
                            const std::function<void(std::string_view)>& on_text);

// Holds back what may be the beginning of a stop string. For servers too.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stop) : stop_(std::move(stop)) {}
  // Adds text; returns what can be delivered now. After stopped() nothing more comes.
  std::string Push(std::string_view text);
  std::string Flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace nibble
