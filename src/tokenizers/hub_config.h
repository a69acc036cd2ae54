// SPDX-License-Identifier: Apache-2.0
// What a hub folder says about its tokenizer beside tokenizer.json: tokenizer_config.json, generation_config.json,
// chat_template.jinja.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace nibble {

struct HubTokenizerConfig {
  std::string bos_token, eos_token;  // texts; empty when not given
  std::vector<int32_t> eos_ids;      // of generation_config.json, else of config.json
  std::string chat_template;         // chat_template.jinja, else tokenizer_config.json (of a list: "default"); may be empty
  std::vector<std::pair<std::string, std::string>> named_templates;  // all of the list (name, text), e.g. "tool_use"
};

// Missing files are no error; files that are there must be well-formed.
Result<HubTokenizerConfig> ReadHubTokenizerConfig(const std::string& folder);

}  // namespace nibble
