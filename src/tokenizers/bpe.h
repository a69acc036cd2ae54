// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding with a ranked list of merges: the pair with the lowest rank is merged first, the leftmost of equals.
// O(n log n) in the length of a word.
#pragma once

#include <array>

#include "tokenizers/model.h"
#include "tokenizers/pair_map.h"

namespace nibble {

struct BpeOptions {
  std::string unk_token;  // empty: characters without a token are dropped
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false;       // neighbouring unknown characters give one unk token
  bool byte_fallback = false;  // unknown characters are spelled <0x..> byte by byte
  bool ignore_merges = false;  // a word that is a token is that token
};

using BpeMerge = std::pair<std::string, std::string>;

class BpeModel : public TokenModel {
 public:
  // Errors: a merge names a text that is not in the vocabulary, or its result is not; unk_token is not there.
  static Result<std::unique_ptr<BpeModel>> Make(Vocabulary vocabulary, const std::vector<BpeMerge>& merges, BpeOptions options,
                                                const std::string& where);

  Status Encode(std::string_view word, std::vector<int32_t>& ids) const override;

 private:
  explicit BpeModel(Vocabulary vocabulary) : TokenModel(std::move(vocabulary)) {}
  Status AddMerges(const std::vector<BpeMerge>& merges, const std::string& where);
  void FillTables();
  // The ids of single characters.
  void Symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  int32_t SymbolId(std::string_view character) const;
  void MergeShort(std::vector<int32_t>& symbols) const;
  void MergeLong(std::vector<int32_t>& symbols) const;

  BpeOptions options_;
  PairMap merges_;
  int32_t unk_id_ = -1;
  std::array<int32_t, 256> byte_ids_{};    // of <0x00> ... <0xFF>, or -1
  std::array<int32_t, 0x800> char_ids_{};  // of the characters of one or two bytes, or -1
  bool decorated_ = false;                 // a prefix or suffix makes the id of a character depend on its place
};

}  // namespace nibble
