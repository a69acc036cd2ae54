// SPDX-License-Identifier: Apache-2.0
// The byte-level alphabet of GPT-2: every byte is written as one printable character. Bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF
// stand for themselves (as code points), the other 68 bytes in ascending order for U+0100, U+0101, ... So a space is U+0120.
#pragma once

#include <string>
#include <string_view>

namespace nibble {

char32_t ByteToChar(unsigned char byte);
// The byte that `c` stands for, or -1.
int CharToByte(char32_t c);
// Appends the characters of all bytes of `text`.
void AppendByteLevel(std::string_view text, std::string& out);
// Appends the bytes of a token of the alphabet; a token with any other character is appended unchanged.
void AppendBytesOf(std::string_view token, std::string& out);

}  // namespace nibble
