// SPDX-License-Identifier: Apache-2.0
// Is a name from a file fit to be shown and stored?
#pragma once

#include <cstdint>
#include <string_view>

namespace nibble {

// Valid UTF-8 (shortest forms, no surrogates, up to U+10FFFF).
constexpr bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
    const uint8_t first = byte(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const int length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4) return false;
    // The second byte rules out overlong forms, surrogates and values beyond the last code point.
    const uint8_t low = first == 0xe0   ? 0xa0
                        : first == 0xf0 ? 0x90
                                        : 0x80,
                  high = first == 0xed   ? 0x9f
                         : first == 0xf4 ? 0x8f
                                         : 0xbf;
    if (byte(i + 1) < low || byte(i + 1) > high) return false;
    for (int n = 2; n < length; ++n)
      if ((byte(i + static_cast<size_t>(n)) & 0xc0) != 0x80) return false;
    i += static_cast<size_t>(length);
  }
  return true;
}

// UTF-8 without control characters: safe in messages, terminals and JSON.
constexpr bool IsPrintableUtf8(std::string_view text) {
  for (const char c : text)
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return false;
  return IsUtf8(text);
}

}  // namespace nibble
