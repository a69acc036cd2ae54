// SPDX-License-Identifier: Apache-2.0
// The "pattern" of tokenizer.json: {"String": "x"} is searched literally, {"Regex": "x"} as an expression.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "base/regex.h"

namespace nibble {

class TextPattern {
 public:
  // `value` is the pattern's JSON; `where` is named in errors.
  static Result<TextPattern> Parse(const Json& value, const std::string& where);
  static Result<TextPattern> FromRegex(std::string_view expression, const std::string& where);

  // All matches from left to right, none overlapping; an empty match is followed by a search one character further.
  Status FindAll(std::string_view text, std::vector<Regex::Match>& matches) const;
  // Replaces every match by `content`, literally.
  Result<std::string> ReplaceAll(std::string_view text, std::string_view content) const;

 private:
  TextPattern() = default;
  std::string literal_;
  std::optional<Regex> regex_;
};

}  // namespace nibble
