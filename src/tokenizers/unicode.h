// SPDX-License-Identifier: Apache-2.0
// UTF-8 and the Unicode facts that tokenizers need. The only file that knows utf8proc. All functions are thread-safe and total:
// malformed UTF-8 never fails, each maximal ill-formed part reads as U+FFFD (the substitution of the Unicode standard,
// chapter 3.9).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::unicode {

inline constexpr char32_t kReplacement = 0xFFFD;
inline constexpr std::string_view kPieceSpace = "\u2581";  // how SentencePiece writes a space

// Decodes the character at text[pos] and moves pos behind it; pos < text.size(). `valid`, if given, says whether it was
// well-formed.
char32_t Next(std::string_view text, size_t& pos, bool* valid = nullptr);
// Start of the character before `end` in well-formed text; end > 0.
size_t Previous(std::string_view text, size_t end);
void Append(char32_t c, std::string& out);
std::string ToUtf8(char32_t c);
bool IsValid(std::string_view text);
// Well-formed copy: each ill-formed part becomes U+FFFD.
std::string Sanitize(std::string_view text);
// Number of bytes at the end of `text` that begin a character whose rest may still come (0 to 3).
size_t IncompleteTail(std::string_view text);
// End of the extended grapheme cluster that begins at `pos`; pos < text.size(), text well-formed.
size_t GraphemeEnd(std::string_view text, size_t pos);
// Number of characters.
size_t Length(std::string_view text);

enum class Form : unsigned char { kNfc, kNfd, kNfkc, kNfkd };
// Normalization form of well-formed text.
std::string Normalize(std::string_view text, Form form);
// Character by character, with the special one-to-many mappings that Python and Rust apply (U+0130, U+00DF).
std::string Lower(std::string_view text);
std::string Upper(std::string_view text);
char32_t LowerChar(char32_t c);
char32_t UpperChar(char32_t c);

bool IsSpace(char32_t c);        // White_Space property
bool IsPunctuation(char32_t c);  // general category P*
bool IsNumeric(char32_t c);      // general category N*
bool IsLetter(char32_t c);       // general category L*
bool IsMark(char32_t c);         // general category M*
bool IsNonspacingMark(char32_t c);
bool IsControl(char32_t c);  // Cc, Cf, Co
bool IsWord(char32_t c);     // \w: letters, marks, decimal and letter numbers, connector punctuation, joiners
bool IsCased(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsDecimal(char32_t c);  // general category Nd

}  // namespace nibble::unicode
