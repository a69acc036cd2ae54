// SPDX-License-Identifier: Apache-2.0
// Cuts a template into text and the tokens of {{ expressions }} and {% statements %}, with the white-space rules that chat
// templates are written for: trim_blocks (the newline behind a block goes), lstrip_blocks (spaces before a block at the start of a
// line go), "-" and "+".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble::jinja {

struct Token {
  enum class Type : unsigned char {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Type type = Type::kEnd;
  std::string text;  // of a string: its value; of an operator or name: as written
  int64_t integer = 0;
  double number = 0;
  int line = 1;
};

// Errors are worded "line N: ...". The last token is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace nibble::jinja
