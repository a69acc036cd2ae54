// SPDX-License-Identifier: Apache-2.0
// The tokenizer keys of a GGUF file (tokenizer.ggml.*) as plain values, for Tokenizer::FromGgufVocab. Texts are UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nibble {

struct GgufVocab {
  std::string model;                 // tokenizer.ggml.model: "llama", "gpt2"
  std::string pre;                   // tokenizer.ggml.pre: "llama-bpe", "qwen2" ...; empty: "default"
  std::vector<std::string> tokens;   // by id
  std::vector<float> scores;         // by id ("llama"), may be empty for "gpt2"
  std::vector<int32_t> token_types;  // by id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; may be empty
  std::vector<std::string> merges;   // "left right" ("gpt2")
  std::optional<int64_t> bos_id, eos_id, unk_id, eot_id, eom_id;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::optional<int64_t> cls_id, sep_id;  // "bert"
  std::optional<bool> remove_extra_whitespaces;
  std::string charsmap;                                              // "t5": charsmap.h
  std::string chat_template;                                         // tokenizer.chat_template, may be empty
  std::vector<std::pair<std::string, std::string>> named_templates;  // tokenizer.chat_template.NAME
};

}  // namespace nibble
