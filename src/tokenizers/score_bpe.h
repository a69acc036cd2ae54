// SPDX-License-Identifier: Apache-2.0
// BPE as SentencePiece does it without a list of merges: two neighbours merge when their joined text is a token; the pair whose
// token has the highest score goes first, the leftmost of equals. Characters without a token are spelled <0x..>. O(n log n).
#pragma once

#include <array>

#include "tokenizers/model.h"

namespace nibble {

class ScoreBpeModel : public TokenModel {
 public:
  // scores[id] for each id of the vocabulary. unk_id -1: a character without token and bytes is dropped.
  static Result<std::unique_ptr<ScoreBpeModel>> Make(Vocabulary vocabulary, std::vector<float> scores, int32_t unk_id,
                                                     const std::string& where);
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  explicit ScoreBpeModel(Vocabulary vocabulary) : TokenModel(std::move(vocabulary)) {}
  std::vector<float> scores_;
  std::array<int32_t, 256> byte_ids_{};  // or -1
  int32_t unk_id_ = -1;
};

}  // namespace nibble
