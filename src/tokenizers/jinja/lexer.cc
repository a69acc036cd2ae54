// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "tokenizers/unicode.h"

namespace nibble::jinja {
namespace {

constexpr size_t kMaxTokens = 1'000'000;

bool IsAsciiSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F); }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Start of the white space at the end of `text`.
size_t TrimmedSize(std::string_view text) {
  size_t size = text.size();
  while (size > 0) {
    const size_t begin = unicode::Previous(text, size);
    size_t pos = begin;
    const char32_t c = unicode::Next(text, pos);
    if (!unicode::IsSpace(c) && !(c >= 0x1C && c <= 0x1F)) break;
    size = begin;
  }
  return size;
}

size_t SpaceEnd(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    size_t next = pos;
    const char32_t c = unicode::Next(text, next);
    if (!unicode::IsSpace(c) && !(c >= 0x1C && c <= 0x1F)) break;
    pos = next;
  }
  return pos;
}

// Newlines become \n; one at the very end is dropped.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)) {}
  Result<std::vector<Token>> Run();

 private:
  bool At(std::string_view text) const { return std::string_view(source_).substr(pos_).starts_with(text); }
  int Line(size_t pos) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(line_pos_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(pos), '\n'));
    line_pos_ = pos;
    return line_;
  }
  tl::unexpected<Error> Bad(const std::string& message) {
    return Corrupt("line {}: {}", Line(std::min(pos_, source_.size())), message);
  }
  void Push(Token::Type type, std::string text) { tokens_.push_back({type, std::move(text), 0, 0, Line(pos_)}); }
  void PushData(std::string_view text, char sign, bool is_variable);
  void EndBlock(size_t size, bool minus, bool plus);
  Status Comment();
  Result<bool> Raw();
  Status Inside(bool is_variable);
  Status StringToken();
  Status Escape(std::string& out, size_t& at, size_t end);
  Status NumberToken();
  bool OperatorToken();

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  size_t line_pos_ = 0;
  bool line_starting_ = true;  // the tag before ended with a newline
  std::vector<Token> tokens_;
};

// Text before a tag whose sign is '-', '+' or 0.
void Lexer::PushData(std::string_view text, char sign, bool is_variable) {
  if (sign == '-') {
    text = text.substr(0, TrimmedSize(text));
  } else if (sign != '+' && !is_variable) {
    const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
    if ((line > 0 || line_starting_) && line < text.size() && SpaceEnd(text, line) == text.size()) text = text.substr(0, line);
  }
  if (!text.empty()) Push(Token::Type::kData, std::string(text));
}

// Passes over the end of a block or comment and what its sign removes behind it.
void Lexer::EndBlock(size_t size, bool minus, bool plus) {
  const size_t begin = pos_;
  pos_ += size;
  if (minus) {
    pos_ = SpaceEnd(source_, pos_);
  } else if (!plus && pos_ < source_.size() && source_[pos_] == '\n') {
    ++pos_;
  }
  line_starting_ = source_.substr(begin, pos_ - begin).ends_with('\n');
}

Status Lexer::Comment() {
  const size_t end = source_.find("#}", pos_);
  if (end == source_.npos) return Bad("Missing end of comment tag");
  const char sign = end > pos_ ? source_[end - 1] : ' ';
  pos_ = end;
  EndBlock(2, sign == '-', sign == '+');
  return {};
}

// {% raw %} text {% endraw %}, when it stands here (pos_ is behind "{%" and its sign).
Result<bool> Lexer::Raw() {
  size_t at = SpaceEnd(source_, pos_);
  if (source_.compare(at, 3, "raw") != 0) return false;
  at = SpaceEnd(source_, at + 3);
  const bool minus = source_.compare(at, 3, "-%}") == 0;
  if (!minus && source_.compare(at, 2, "%}") != 0) return false;
  pos_ = minus ? SpaceEnd(source_, at + 3) : at + 2;
  line_starting_ = false;
  for (size_t tag = source_.find("{%", pos_); tag != source_.npos; tag = source_.find("{%", tag + 2)) {
    size_t inner = tag + 2;
    const char sign = inner < source_.size() && (source_[inner] == '-' || source_[inner] == '+') ? source_[inner++] : '\0';
    inner = SpaceEnd(source_, inner);
    if (source_.compare(inner, 6, "endraw") != 0) continue;
    inner = SpaceEnd(source_, inner + 6);
    const char end_sign = inner < source_.size() && (source_[inner] == '-' || source_[inner] == '+') ? source_[inner] : '\0';
    if (source_.compare(inner + (end_sign ? 1 : 0), 2, "%}") != 0) continue;
    PushData(std::string_view(source_).substr(pos_, tag - pos_), sign, false);
    pos_ = inner;
    EndBlock(end_sign ? 3 : 2, end_sign == '-', end_sign == '+');
    return true;
  }
  return Bad("Missing end of raw directive");
}

Status Lexer::Escape(std::string& out, size_t& at, size_t end) {
  const char kind = source_[at++];
  static constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
  if (const size_t simple = kFrom.find(kind); simple != kFrom.npos) {
    out += kTo[simple];
    return {};
  }
  if (kind == '\n') return {};  // a continued line
  if (kind >= '0' && kind <= '7') {
    uint32_t value = static_cast<uint32_t>(kind - '0');
    for (int i = 0; i < 2 && at < end && source_[at] >= '0' && source_[at] <= '7'; ++i)
      value = value * 8 + static_cast<uint32_t>(source_[at++] - '0');
    unicode::Append(value, out);
    return {};
  }
  const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
  if (digits == 0) {
    out += '\\';
    out += kind;
    return {};
  }
  uint32_t value = 0;
  const auto [stop, error] = std::from_chars(source_.data() + at, source_.data() + std::min(end, at + digits), value, 16);
  if (error != std::errc() || stop != source_.data() + at + digits)
    return Bad("a \\" + std::string(1, kind) + " escape without its digits");
  at += digits;
  unicode::Append(value, out);
  return {};
}

Status Lexer::StringToken() {
  const char quote = source_[pos_];
  size_t end = pos_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return Bad("a string without its end");
  std::string text;
  for (size_t at = pos_ + 1; at < end;) {
    if (source_[at] == '\\') {
      ++at;
      NIBBLE_RETURN_IF_ERROR(Escape(text, at, end));
    } else {
      text += source_[at++];
    }
  }
  Push(Token::Type::kString, unicode::Sanitize(text));
  pos_ = end + 1;
  return {};
}

Status Lexer::NumberToken() {
  size_t end = pos_;
  std::string digits;
  int base = 10;
  bool is_float = false;
  const auto take = [&](auto accept) {
    for (; end < source_.size() && (accept(source_[end]) || source_[end] == '_'); ++end) {
      if (source_[end] != '_') digits += source_[end];
    }
  };
  const char second = pos_ + 1 < source_.size() ? static_cast<char>(source_[pos_ + 1] | 0x20) : '\0';
  if (source_[pos_] == '0' && (second == 'x' || second == 'o' || second == 'b')) {
    base = second == 'x' ? 16 : second == 'o' ? 8 : 2;
    end += 2;
    take([](char c) { return IsDigit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); });
  } else {
    take(IsDigit);
    if (end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
      is_float = true;
      digits += '.';
      ++end;
      take(IsDigit);
    }
    const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+') ? 1 : 0;
    if (end + 1 + sign < source_.size() && (source_[end] | 0x20) == 'e' && IsDigit(source_[end + 1 + sign])) {
      is_float = true;
      digits += 'e';
      if (sign && source_[end + 1] == '-') digits += '-';
      end += 1 + sign;
      take(IsDigit);
    }
  }
  Push(is_float ? Token::Type::kFloat : Token::Type::kInteger, digits);
  Token& token = tokens_.back();
  const char *first = digits.data(), *last = first + digits.size();
  const auto [stop, error] =
      is_float ? std::from_chars(first, last, token.number) : std::from_chars(first, last, token.integer, base);
  if (error != std::errc() || stop != last)
    return Bad("number " + source_.substr(pos_, std::min<size_t>(end - pos_, 40)) + " is too large or not a number");
  pos_ = end;
  return {};
}

bool Lexer::OperatorToken() {
  static constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
  for (const auto text : kOperators) {
    if (!At(text)) continue;
    Push(Token::Type::kOperator, std::string(text));
    pos_ += text.size();
    return true;
  }
  return false;
}

// Tokens up to the end of the tag. A "}" that closes a "{" of the expression is not its end.
Status Lexer::Inside(bool is_variable) {
  std::string open;
  const std::string_view close = is_variable ? "}}" : "%}";
  while (pos_ < source_.size()) {
    if (tokens_.size() > kMaxTokens) return Bad("more than a million tokens");
    if (open.empty()) {
      const char sign = source_[pos_];
      const bool signed_end =
          (sign == '-' || (sign == '+' && !is_variable)) && std::string_view(source_).substr(pos_ + 1).starts_with(close);
      if (signed_end || At(close)) {
        Push(is_variable ? Token::Type::kVariableEnd : Token::Type::kBlockEnd, "");
        if (is_variable && !signed_end) {
          pos_ += 2;
          line_starting_ = false;
        } else {
          EndBlock(signed_end ? 3 : 2, signed_end && sign == '-', signed_end && sign == '+');
        }
        return {};
      }
    }
    const char c = source_[pos_];
    if (IsAsciiSpace(c)) {
      ++pos_;
    } else if (IsNameStart(c)) {
      size_t end = pos_;
      while (end < source_.size() && (IsNameStart(source_[end]) || IsDigit(source_[end]))) ++end;
      Push(Token::Type::kName, source_.substr(pos_, end - pos_));
      pos_ = end;
    } else if (IsDigit(c)) {
      NIBBLE_RETURN_IF_ERROR(NumberToken());
    } else if (c == '\'' || c == '"') {
      NIBBLE_RETURN_IF_ERROR(StringToken());
    } else if (OperatorToken()) {
      if (c == '(' || c == '[' || c == '{') open += c;
      if (c == ')' || c == ']' || c == '}') {
        const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
        if (open.empty() || open.back() != wanted) return Bad(fmt::format("unexpected '{}'", c));
        open.pop_back();
      }
    } else {
      return Bad(fmt::format("unexpected char {} in an expression", c >= 0x20 && c < 0x7F
                                                                        ? fmt::format("'{}'", c)
                                                                        : fmt::format("0x{:02x}", static_cast<unsigned char>(c))));
    }
  }
  return Bad(fmt::format("unexpected end of template, expected '{}'", close));
}

Result<std::vector<Token>> Lexer::Run() {
  while (pos_ < source_.size()) {
    size_t tag = pos_;
    for (tag = source_.find('{', tag); tag != source_.npos; tag = source_.find('{', tag + 1)) {
      if (tag + 1 < source_.size() && (source_[tag + 1] == '{' || source_[tag + 1] == '%' || source_[tag + 1] == '#')) break;
    }
    const std::string_view text = std::string_view(source_).substr(pos_, tag == source_.npos ? source_.npos : tag - pos_);
    if (tag == source_.npos) {
      Push(Token::Type::kData, std::string(text));
      break;
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() && (source_[tag + 2] == '-' || source_[tag + 2] == '+') ? source_[tag + 2] : '\0';
    PushData(text, sign, kind == '{');
    pos_ = tag + (sign ? 3 : 2);
    if (kind == '#') {
      NIBBLE_RETURN_IF_ERROR(Comment());
      continue;
    }
    if (kind == '%') {
      NIBBLE_TRY(const bool raw, Raw());
      if (raw) continue;
    }
    Push(kind == '{' ? Token::Type::kVariableBegin : Token::Type::kBlockBegin, "");
    NIBBLE_RETURN_IF_ERROR(Inside(kind == '{'));
  }
  pos_ = source_.size();
  Push(Token::Type::kEnd, "");
  return std::move(tokens_);
}

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace nibble::jinja
