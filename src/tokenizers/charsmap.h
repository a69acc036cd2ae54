// SPDX-License-Identifier: Apache-2.0
// SentencePiece's compiled table of replacements: a double-array trie of what to replace, then the replacements, each ended by a
// zero byte. Layout: u32 LE size of the trie in bytes, the trie (u32 LE units), the texts. A unit has its label in bits 0-7, "a
// leaf follows" in bit 8, and the offset of its children in bits 10-30, shifted by another 8 when bit 9 is set; a leaf has bit 31
// and an index of the texts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble {

class Charsmap {
 public:
  // Bytes of the table; empty: nothing is replaced. Every index that a look-up could follow is checked when it is followed.
  static Result<Charsmap> Make(std::string_view bytes, const std::string& where);
  // The same of base64 text, as tokenizer.json spells it.
  static Result<Charsmap> FromBase64(std::string_view text, const std::string& where);

  struct Found {
    size_t size;             // bytes of the key
    std::string_view value;  // what to write instead
  };
  // The longest or the shortest key that `text` begins with.
  std::optional<Found> Longest(std::string_view text) const { return Search(text, false); }
  std::optional<Found> Shortest(std::string_view text) const { return Search(text, true); }
  bool empty() const { return units_.empty(); }

  // As the tokenizers library applies it: a grapheme of up to five bytes whose beginning is a key becomes the shortest such key's
  // value as a whole; else each of its characters is looked up.
  std::string ReplaceGraphemes(std::string_view text) const;
  // As SentencePiece itself: always the longest key.
  std::string ReplaceLongest(std::string_view text) const;

 private:
  std::optional<Found> Search(std::string_view text, bool shortest) const;
  std::vector<uint32_t> units_;
  std::string values_;
};

}  // namespace nibble
