// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/byte_level.h"

#include <array>

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<char32_t, 256> MakeByteChars() {
  std::array<char32_t, 256> chars{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte)
    chars[static_cast<size_t>(byte)] = IsPrintable(byte) ? static_cast<char32_t>(byte) : next++;
  return chars;
}

constexpr std::array<char32_t, 256> kChars = MakeByteChars();
constexpr char32_t kEnd = 0x100 + 68;

constexpr std::array<int, kEnd> MakeBytes() {
  std::array<int, kEnd> bytes{};
  for (int& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kChars[static_cast<size_t>(byte)]] = byte;
  return bytes;
}

constexpr std::array<int, kEnd> kBytes = MakeBytes();

}  // namespace

char32_t ByteToChar(unsigned char byte) { return kChars[byte]; }
int CharToByte(char32_t c) { return c < kEnd ? kBytes[c] : -1; }

void AppendByteLevel(std::string_view text, std::string& out) {
  const size_t start = out.size();
  out.resize(start + 2 * text.size());  // every character of the alphabet takes one or two bytes
  char* to = out.data() + start;
  for (const char byte : text) {
    const char32_t c = kChars[static_cast<unsigned char>(byte)];
    if (c < 0x80) {
      *to++ = static_cast<char>(c);
    } else {
      *to++ = static_cast<char>(0xC0 | c >> 6);
      *to++ = static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  out.resize(static_cast<size_t>(to - out.data()));
}

void AppendBytesOf(std::string_view token, std::string& out) {
  const size_t start = out.size();
  for (size_t pos = 0; pos < token.size();) {
    const int byte = CharToByte(unicode::Next(token, pos));
    if (byte < 0) {
      out.resize(start);
      out.append(token);
      return;
    }
    out += static_cast<char>(byte);
  }
}

}  // namespace nibble
