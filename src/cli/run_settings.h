// SPDX-License-Identifier: Apache-2.0
// What `run` takes from the model when the user says nothing: sampling, tokens that end a text. Each with where it came from, to be
// told.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "io/json.h"
#include "tokenizers/hub_config.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

// The user's; unset ones are the model's, or else SamplingParams as given.
struct SamplingFlags {
  std::optional<float> temperature, top_p, min_p, repeat_penalty;
  std::optional<int64_t> top_k;
  uint64_t seed = 0;
};

struct ChosenSampling {
  SamplingParams params;
  std::string source;  // "generation_config.json", "nibble's defaults"
};

// A generation_config.json that names any sampling value is taken whole, as transformers reads it: what it leaves out is
// transformers' default, do_sample false is greedy. Corrupt for a value that is no number.
Result<ChosenSampling> ChooseSampling(const SamplingFlags& flags, const Json& generation_config);
std::string DescribeSampling(const ChosenSampling& sampling);

struct ChosenStops {
  std::vector<int32_t> ids;
  std::string text;  // "<|im_end|> (2), id 7"
};

// eos ids of generation_config.json or config.json, the tokenizer's own eos, and the end-of-turn tokens that the chat template
// spells (empty: no chat). tokenizer may be null.
ChosenStops ChooseStops(const Json& generation_config, const Json& config, const Tokenizer* tokenizer,
                        const std::string& chat_template);

}  // namespace nibble
