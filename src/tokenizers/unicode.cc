// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

namespace nibble::unicode {
namespace {

int Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
bool InRange(char32_t c, char32_t low, char32_t high) { return c >= low && c <= high; }
bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the sequence that `lead` announces and the bounds of its second byte, which exclude overlong forms, surrogates and
// values above U+10FFFF; length 0 for a byte that begins nothing.
struct Lead {
  int length;
  unsigned char low, high;
};
Lead LeadOf(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

char32_t Next(std::string_view text, size_t& pos, bool* valid) {
  const auto first = static_cast<unsigned char>(text[pos++]);
  if (valid) *valid = true;
  if (first < 0x80) return first;
  const Lead lead = LeadOf(first);
  char32_t value = first & (0x7F >> lead.length);
  for (int i = 1; i < lead.length; ++i) {
    const auto byte = pos < text.size() ? static_cast<unsigned char>(text[pos]) : 0;
    const bool fits = i == 1 ? byte >= lead.low && byte <= lead.high : IsContinuation(byte);
    if (!fits) {
      if (valid) *valid = false;
      return kReplacement;
    }
    value = value << 6 | (byte & 0x3F);
    ++pos;
  }
  if (lead.length > 0) return value;
  if (valid) *valid = false;
  return kReplacement;
}

size_t Previous(std::string_view text, size_t end) {
  size_t pos = end - 1;
  while (pos > 0 && end - pos < 4 && IsContinuation(static_cast<unsigned char>(text[pos]))) --pos;
  return pos;
}

void Append(char32_t c, std::string& out) {
  if (c > 0x10FFFF || InRange(c, 0xD800, 0xDFFF)) c = kReplacement;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::string ToUtf8(char32_t c) {
  std::string out;
  Append(c, out);
  return out;
}

bool IsValid(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    bool valid = true;
    Next(text, pos, &valid);
    if (!valid) return false;
  }
  return true;
}

std::string Sanitize(std::string_view text) {
  if (IsValid(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) Append(Next(text, pos), out);
  return out;
}

size_t IncompleteTail(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t start = text.size() - back;
    const auto byte = static_cast<unsigned char>(text[start]);
    if (IsContinuation(byte)) continue;
    if (LeadOf(byte).length <= static_cast<int>(back)) return 0;
    // A wrong second byte cannot be completed any more: then Next stops before the end of the text.
    size_t pos = start;
    Next(text, pos);
    return pos == text.size() ? back : 0;
  }
  return 0;
}

size_t GraphemeEnd(std::string_view text, size_t pos) {
  char32_t left = Next(text, pos);
  utf8proc_int32_t state = 0;
  while (pos < text.size()) {
    size_t next = pos;
    const char32_t right = Next(text, next);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(left), static_cast<utf8proc_int32_t>(right), &state)) break;
    left = right;
    pos = next;
  }
  return pos;
}

size_t Length(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += !IsContinuation(static_cast<unsigned char>(c));
  return count;
}

std::string Normalize(std::string_view text, Form form) {
  bool ascii = true;
  for (const char c : text) ascii &= static_cast<unsigned char>(c) < 0x80;
  if (ascii) return std::string(text);
  int options = UTF8PROC_STABLE;
  if (form == Form::kNfc || form == Form::kNfkc) options |= UTF8PROC_COMPOSE;
  if (form == Form::kNfd || form == Form::kNfkd) options |= UTF8PROC_DECOMPOSE;
  if (form == Form::kNfkc || form == Form::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* mapped = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                                 &mapped, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (size < 0) return std::string(text);
  return std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
}

char32_t LowerChar(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t UpperChar(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }

std::string Lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = Next(text, pos);
    if (c == 0x130) {
      out += "i\xCC\x87";
    } else {
      Append(LowerChar(c), out);
    }
  }
  return out;
}

std::string Upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = Next(text, pos);
    if (c == 0xDF) {
      out += "SS";
    } else {
      Append(UpperChar(c), out);
    }
  }
  return out;
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || InRange(c, 9, 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || InRange(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool IsPunctuation(char32_t c) { return InRange(Category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO); }
bool IsNumeric(char32_t c) { return InRange(Category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO); }
bool IsDecimal(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }
bool IsLetter(char32_t c) { return InRange(Category(c), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO); }
bool IsMark(char32_t c) { return InRange(Category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME); }
bool IsNonspacingMark(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_MN; }
bool IsUpper(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_LU; }
bool IsLower(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_LL; }
bool IsCased(char32_t c) { return InRange(Category(c), UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LT); }

bool IsControl(char32_t c) {
  const int category = Category(c);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

bool IsWord(char32_t c) {
  const int category = Category(c);
  return IsLetter(c) || IsMark(c) || category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D;
}

}  // namespace nibble::unicode
