// SPDX-License-Identifier: Apache-2.0
// Unigram (SentencePiece): the cutting whose tokens have the highest sum of scores, found by dynamic programming.
#pragma once

#include "tokenizers/model.h"

namespace nibble {

class UnigramModel : public TokenModel {
 public:
  // scores[id] for each id of the vocabulary. unk_id may be -1: then text that no token covers is an error (unless byte_fallback).
  static Result<std::unique_ptr<UnigramModel>> Make(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id,
                                                    bool byte_fallback, const std::string& where);
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  explicit UnigramModel(Vocabulary vocabulary) : TokenModel(std::move(vocabulary)) {}
  Status AppendUnknown(std::string_view text, std::vector<int32_t>& ids) const;
  std::vector<double> scores_;
  double unk_score_ = 0;
  int32_t unk_id_ = -1;
  bool byte_fallback_ = false;
};

}  // namespace nibble
