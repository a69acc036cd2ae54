// SPDX-License-Identifier: Apache-2.0
// Added tokens: texts that are found before the model sees anything, special ones (<|eot|>) and ordinary ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // left out by Decode(skip_special)
  bool normalized = false;   // looked for in the normalized text, not in the raw one
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool single_word = false;  // only between non-word characters
};

// A part of a text: an added token, or (id -1) text between them.
struct TextPart {
  size_t begin, end;
  int32_t id;
};

// Finds the leftmost of a set of added tokens, the longest of those that begin there.
class AddedTokenFinder {
 public:
  static constexpr size_t kMaxContentBytes = 4096;

  // Tokens with the same content: the first counts. Empty contents are left out. Contents over kMaxContentBytes are an error.
  static Result<AddedTokenFinder> Make(const std::vector<AddedToken>& tokens, const std::string& where);

  // Appends the parts of `text` (well-formed) in order; no part is empty.
  void Split(std::string_view text, std::vector<TextPart>& parts) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;  // sorted by byte
    int32_t token = -1;                                       // index into tokens_
  };
  struct Hit {
    int32_t token = -1;
    size_t end = 0;
  };
  Hit MatchAt(std::string_view text, size_t begin) const;
  int32_t Child(int32_t node, unsigned char byte) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
};

}  // namespace nibble
