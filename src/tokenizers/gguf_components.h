// SPDX-License-Identifier: Apache-2.0
// The components that a GGUF vocabulary stands for, as the JSON that tokenizer.json has for them. Read by the tokenizer itself and
// by the writer of hub files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "tokenizers/gguf_vocab.h"

namespace nibble {

struct GgufComponents {
  enum Kind : unsigned char { kScores, kMerges, kWordPiece };  // "llama"; "gpt2" and "gemma4"; "bert"
  Kind kind = kScores;
  Json normalizer, pre_tokenizer, decoder;  // null: none
  bool ignore_merges = false;
  bool byte_fallback = false;             // characters without a token are spelled <0x..>
  bool add_bos = false, add_eos = false;  // what the file says, else the kind's own habit
  int64_t default_bos = 0, default_eos = 0;
};

// Unsupported: a model or a pre-tokenizer whose rules are not known. ("t5" has no such form here.)
Result<GgufComponents> DescribeGgufComponents(const GgufVocab& vocab, const std::string& where);

// "left right" of tokenizer.ggml.merges as pairs.
Result<std::vector<std::pair<std::string, std::string>>> SplitGgufMerges(const GgufVocab& vocab, const std::string& where);

}  // namespace nibble
