// SPDX-License-Identifier: Apache-2.0
// WordPiece (BERT): from the left, always the longest token that fits; a word that cannot be cut so is one unk token.
#pragma once

#include "tokenizers/model.h"

namespace nibble {

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  int64_t max_chars_per_word = 100;  // longer words are unk
};

class WordPieceModel : public TokenModel {
 public:
  static Result<std::unique_ptr<WordPieceModel>> Make(Vocabulary vocabulary, WordPieceOptions options, const std::string& where);
  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  WordPieceModel(Vocabulary vocabulary, WordPieceOptions options, int32_t unk_id)
      : TokenModel(std::move(vocabulary)), options_(std::move(options)), unk_id_(unk_id) {}
  WordPieceOptions options_;
  int32_t unk_id_;
};

}  // namespace nibble
