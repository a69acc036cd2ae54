// SPDX-License-Identifier: Apache-2.0
// WordLevel: a word is one token, or the unk token.
#pragma once

#include "tokenizers/model.h"

namespace nibble {

class WordLevelModel : public TokenModel {
 public:
  // Without unk_token in the vocabulary an unknown word is an error.
  WordLevelModel(Vocabulary vocabulary, const std::string& unk_token)
      : TokenModel(std::move(vocabulary)), unk_id_(vocabulary_.Find(unk_token)) {}
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override {
    const int32_t id = vocabulary_.Find(word);
    if (id < 0 && unk_id_ < 0) return Corrupt("no token for \"{}\" and the tokenizer has no unk token", word.substr(0, 80));
    ids.push_back(id < 0 ? unk_id_ : id);
    return {};
  }

 private:
  int32_t unk_id_;
};

}  // namespace nibble
