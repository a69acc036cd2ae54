// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizers of tokenizer.json: a normalized text -> the words that the model sees one by one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace nibble {

// A text and the words in it: ranges of `text` in ascending order, not overlapping, never empty. Gaps are dropped characters.
struct Words {
  struct Range {
    size_t begin, end;
    bool at_start;  // begins where the user's text begins (Metaspace "first")
  };
  std::string text;
  std::vector<Range> ranges;

  std::string_view Word(const Range& range) const { return std::string_view(text).substr(range.begin, range.end - range.begin); }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Cuts and rewrites. `words.text` is well-formed UTF-8 before and after. Thread-safe. Fails only when a limit is hit.
  virtual Status Apply(Words& words) const = 0;
};

// Types: Sequence ByteLevel Split Digits Punctuation Whitespace WhitespaceSplit CharDelimiterSplit Metaspace BertPreTokenizer
// UnicodeScripts FixedLength.
// Another type is kUnsupported.
Result<std::unique_ptr<PreTokenizer>> ParsePreTokenizer(const Json& spec, const std::string& where);

}  // namespace nibble
