// SPDX-License-Identifier: Apache-2.0
// A token model: one word (as the pre-tokenizer leaves it) -> token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "tokenizers/vocabulary.h"

namespace nibble {

class TokenModel {
 public:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;

  // Appends the ids of `word` (not empty, well-formed UTF-8). Thread-safe. Fails for a limit, or an unknown token that has no id.
  virtual Status Encode(std::string_view word, std::vector<int32_t>& ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

// The "model" of tokenizer.json: BPE, WordPiece, WordLevel, Unigram; another type is kUnsupported.
Result<std::unique_ptr<TokenModel>> ParseTokenModel(const Json& spec, const std::string& where);

}  // namespace nibble
