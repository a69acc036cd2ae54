// SPDX-License-Identifier: Apache-2.0
// Unigram (SentencePiece): the cutting whose tokens have the highest sum of scores, found by dynamic programming.
#pragma once

#include <optional>

#include "tokenizers/model.h"

namespace nibble {

struct UnigramOptions {
  int32_t unk_id = -1;  // -1: text that no token covers is an error (unless byte_fallback)
  bool byte_fallback = false;
  bool single_precision = false;    // sums as SentencePiece's own, in float; the tokenizers library has double
  std::optional<double> unk_score;  // of a character without token; default: the lowest score less kUnkPenalty
};

class UnigramModel : public TokenModel {
 public:
  static constexpr double kUnkPenalty = 10;
  // scores[id] for each id of the vocabulary; a token with minus infinity is never chosen.
  static Result<std::unique_ptr<UnigramModel>> Make(Vocabulary vocabulary, std::vector<double> scores,
                                                    const UnigramOptions& options, const std::string& where);
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  explicit UnigramModel(Vocabulary vocabulary) : TokenModel(std::move(vocabulary)) {}
  double Sum(double a, double b) const {
    return options_.single_precision ? static_cast<double>(static_cast<float>(a + b)) : a + b;
  }
  Status AppendUnknown(std::string_view text, std::vector<int32_t>& ids) const;
  std::vector<double> scores_;
  double unk_score_ = 0;
  UnigramOptions options_;
};

}  // namespace nibble
