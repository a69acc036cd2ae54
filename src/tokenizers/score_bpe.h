// SPDX-License-Identifier: Apache-2.0
// BPE as SentencePiece does it without a list of merges: two neighbours merge when their joined text is a token; the pair whose
// token has the highest score goes first, the leftmost of equals. Characters without a token are spelled <0x..>. O(n log n).
#pragma once

#include <array>

#include "tokenizers/added_tokens.h"
#include "tokenizers/model.h"

namespace nibble {

struct ScoreBpeOptions {
  int32_t unk_id = -1;            // -1: a character without token and bytes is dropped
  bool fuse_unk = false;          // neighbouring unks are one
  bool byte_fallback = true;      // spell such a character <0x..>
  bool whole_words = false;       // a word that is a token is that token, whatever the merges would make of it
  std::vector<AddedToken> whole;  // user-defined tokens: found first, never merged
};

class ScoreBpeModel : public TokenModel {
 public:
  // scores[id] for each id of the vocabulary; text never becomes a token with minus infinity.
  static Result<std::unique_ptr<ScoreBpeModel>> Make(Vocabulary vocabulary, std::vector<float> scores, ScoreBpeOptions options,
                                                     const std::string& where);
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  explicit ScoreBpeModel(Vocabulary vocabulary) : TokenModel(std::move(vocabulary)) {}
  int32_t Find(std::string_view text) const;
  void EncodePlain(std::string_view word, std::vector<int32_t>& ids) const;
  std::vector<float> scores_;
  std::array<int32_t, 256> byte_ids_{};  // or -1
  ScoreBpeOptions options_;
  AddedTokenFinder whole_;
};

}  // namespace nibble
