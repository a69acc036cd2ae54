// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/charsmap.h"

#include <algorithm>

#include "tokenizers/base64.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr size_t kShortGrapheme = 5;  // bytes

uint32_t Word(std::string_view bytes, size_t at) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; ++i) word |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return word;
}

size_t Offset(uint32_t unit) { return static_cast<size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

Result<Charsmap> Charsmap::Make(std::string_view bytes, const std::string& where) {
  Charsmap map;
  if (bytes.empty()) return map;
  const size_t size = bytes.size() < 4 ? 0 : Word(bytes, 0);
  if (size == 0 || size % 4 != 0 || size > bytes.size() - 4)
    return Corrupt("{}: precompiled_charsmap of {} bytes gives its trie as {} bytes", where, bytes.size(), size);
  for (size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(Word(bytes, at));
  map.values_ = bytes.substr(4 + size);
  if (!unicode::IsValid(map.values_)) return Corrupt("{}: precompiled_charsmap: its replacements are not UTF-8", where);
  return map;
}

Result<Charsmap> Charsmap::FromBase64(std::string_view text, const std::string& where) {
  const auto bytes = DecodeBase64(text);
  if (!bytes) return Corrupt("{}: precompiled_charsmap is not base64", where);
  return Make(*bytes, where);
}

std::optional<Charsmap::Found> Charsmap::Search(std::string_view text, bool shortest) const {
  std::optional<Found> found;
  if (units_.empty()) return found;
  size_t node = Offset(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size() || (units_[node] & ((1u << 31) | 0xFF)) != byte) break;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (!(unit >> 8 & 1)) continue;
    if (node >= units_.size()) break;
    const size_t value = units_[node] & ~(1u << 31);
    if (value >= values_.size() || (value > 0 && (values_[value] & 0xC0) == 0x80))
      break;  // behind the texts, or inside a character
    const size_t end = std::min(values_.find('\0', value), values_.size());
    found = Found{i + 1, std::string_view(values_).substr(value, end - value)};
    if (shortest) break;
  }
  return found;
}

std::string Charsmap::ReplaceGraphemes(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const std::string_view grapheme = text.substr(pos, unicode::GraphemeEnd(text, pos) - pos);
    pos += grapheme.size();
    if (grapheme.size() <= kShortGrapheme) {
      if (const auto found = Shortest(grapheme)) {
        out += found->value;
        continue;
      }
    }
    for (size_t at = 0; at < grapheme.size();) {
      const size_t begin = at;
      unicode::Next(grapheme, at);
      const std::string_view character = grapheme.substr(begin, at - begin);
      const auto found = Shortest(character);
      out += found ? found->value : character;
    }
  }
  return out;
}

std::string Charsmap::ReplaceLongest(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    if (const auto found = Longest(text.substr(pos))) {
      out += found->value;
      pos += found->size;
    } else {
      unicode::Append(unicode::Next(text, pos), out);
    }
  }
  return out;
}

}  // namespace nibble
