// SPDX-License-Identifier: Apache-2.0
// What a hub folder says about its tokenizer beside tokenizer.json: tokenizer_config.json, added_tokens.json,
// generation_config.json, chat_template.jinja, additional_chat_templates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizers/added_tokens.h"

namespace nibble {

inline constexpr int64_t kMaxChatTemplateBytes = 4 << 20;

struct HubTokenizerConfig {
  std::string bos_token, eos_token;                                 // texts; empty when not given
  std::vector<std::pair<std::string, std::string>> special_tokens;  // (key, text) of unk_token, pad_token ... that are given
  std::vector<int32_t> eos_ids;                                     // of generation_config.json and config.json
  std::string eos_source;       // the file that eos_ids came from, e.g. "generation_config.json"; empty when there are none
  std::string chat_template;    // of a list: "default"; may be empty
  std::string template_source;  // "chat_template.jinja" or "tokenizer_config.json"
  std::vector<std::pair<std::string, std::string>> named_templates;  // (name, text), e.g. "tool_use"

  // For folders without tokenizer.json.
  std::string tokenizer_class;
  std::vector<AddedToken> added_tokens;
  std::optional<bool> add_bos, add_eos, legacy;
  bool add_prefix_space = false, lowercase = true;
};

// Missing files are no error; files that are there must be well-formed.
Result<HubTokenizerConfig> ReadHubTokenizerConfig(const std::string& folder);

}  // namespace nibble
