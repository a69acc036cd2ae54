// SPDX-License-Identifier: Apache-2.0
// The pre-tokenizers that GGUF files name (tokenizer.ggml.pre), as the regular expressions of the tokenizer.json they were made
// from.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

struct GgufPreTokenizer {
  std::string_view name;
  std::vector<std::string_view> patterns;  // each splits what the one before left, matches and rest both kept
  bool ignore_merges = false;              // a word that is a token is that token
  bool add_bos = false;                    // when the file does not say
};

// nullptr when the name is not known.
const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name);
// For messages: "default, llama-bpe, ..."
std::string GgufPreTokenizerNames();

}  // namespace nibble
