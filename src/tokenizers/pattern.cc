// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/pattern.h"

#include "tokenizers/unicode.h"

namespace nibble {

Result<TextPattern> TextPattern::Parse(const Json& value, const std::string& where) {
  TextPattern pattern;
  if (value.is_object() && value.size() == 1 && value.begin()->is_string()) {
    const auto text = value.begin()->get<std::string>();
    if (value.begin().key() == "Regex") return FromRegex(text, where);
    if (value.begin().key() == "String") {
      pattern.literal_ = text;
      return pattern;
    }
  }
  return Corrupt("{}: \"pattern\" must be {{\"String\": text}} or {{\"Regex\": text}}", where);
}

namespace {

// \w of Oniguruma, which tokenizers are written for, has letters, marks, decimal digits, connectors and Latin-1's small numbers;
// PCRE2's lacks marks and has every kind of number. \W inside of [] stays PCRE2's.
std::string WithWordCharacters(std::string_view expression) {
  constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c != '\\' || i + 1 == expression.size()) {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out += c;
      continue;
    }
    const char next = expression[++i];
    if (next == 'w') {
      out += in_class ? std::string(kWord) : fmt::format("[{}]", kWord);
    } else if (next == 'W' && !in_class) {
      out += fmt::format("[^{}]", kWord);
    } else {
      out.append("\\").append(1, next);
    }
  }
  return out;
}

}  // namespace

Result<TextPattern> TextPattern::FromRegex(std::string_view expression, const std::string& where) {
  TextPattern pattern;
  NIBBLE_TRY(pattern.regex_, Regex::Compile(WithWordCharacters(expression), where));
  return pattern;
}

Status TextPattern::FindAll(std::string_view text, std::vector<Regex::Match>& matches) const {
  matches.clear();
  if (!regex_) {
    if (literal_.empty()) return {};
    for (size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, at + literal_.size())) {
      matches.push_back({at, at + literal_.size()});
    }
    return {};
  }
  for (size_t pos = 0; pos <= text.size();) {
    NIBBLE_TRY(const auto match, regex_->Find(text, pos));
    if (!match) break;
    matches.push_back(*match);
    pos = match->end;
    if (match->begin == match->end) {
      if (pos == text.size()) break;
      unicode::Next(text, pos);
    }
  }
  return {};
}

Result<std::string> TextPattern::ReplaceAll(std::string_view text, std::string_view content) const {
  std::vector<Regex::Match> matches;
  NIBBLE_RETURN_IF_ERROR(FindAll(text, matches));
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (const auto& match : matches) {
    out.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace nibble
