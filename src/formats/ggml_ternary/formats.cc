// SPDX-License-Identifier: Apache-2.0
// tq1_0, tq2_0, q1_0, q2_0: codes of one or two bits, or base-3 digits, under one f16 scale. README.md has the bit pictures.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

constexpr int8_t kSigns[2] = {-1, 1};
constexpr unsigned kPowers[5] = {1, 3, 9, 27, 81};

// Digit n of every byte of `count` bytes; n-th digits of all bytes are neighbours.
void UnpackTrits(const std::byte* bytes, int count, int digits, uint8_t* codes) {
  for (int n = 0; n < digits; ++n)
    for (int m = 0; m < count; ++m) codes[n * count + m] = static_cast<uint8_t>((((Byte(bytes, m) * kPowers[n]) & 255u) * 3u) >> 8);
}
void SplitTq10(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  UnpackTrits(b, 32, 5, codes);
  UnpackTrits(b + 32, 16, 5, codes + 160);
  UnpackTrits(b + 48, 4, 4, codes + 240);
  *d = U16At(b + 52);
}
void SplitTq20(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  UnpackPlane2(b, codes);
  *d = U16At(b + 64);
}
void SplitQ10(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  for (int i = 0; i < 128; ++i) codes[i] = static_cast<uint8_t>((Byte(b, 2 + i / 8) >> (i % 8)) & 1u);
}
void SplitQ20(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  for (int i = 0; i < 64; ++i) codes[i] = static_cast<uint8_t>((Byte(b, 2 + i / 4) >> (2 * (i % 4))) & 3u);
}

constexpr BlockSplit kTq10{.bits = 2, .sub_elems = 256, .zero = 1, .split = SplitTq10};
constexpr BlockSplit kTq20{.bits = 2, .sub_elems = 256, .zero = 1, .split = SplitTq20};
constexpr BlockSplit kQ10{.bits = 1, .sub_elems = 128, .table = kSigns, .split = SplitQ10};
constexpr BlockSplit kQ20{.bits = 2, .sub_elems = 64, .zero = 1, .split = SplitQ20};

constexpr Format kGgmlTernaryFormats[] = {
    {"tq1_0", "ggml: ternary digits, five a byte, f16 scale per 256", 34, 256, 54, 0, DecodeBlocks<kTq10, 256, 54>, nullptr,
     &kTq10},
    {"tq2_0", "ggml: ternary codes of 2 bits, f16 scale per 256", 35, 256, 66, 0, DecodeBlocks<kTq20, 256, 66>, nullptr, &kTq20},
    {"q1_0", "ggml: signs, f16 scale per 128", 41, 128, 18, 0, DecodeBlocks<kQ10, 128, 18>, nullptr, &kQ10},
    {"q2_0", "ggml: 2-bit codes, f16 scale per 64", 42, 64, 18, 0, DecodeBlocks<kQ20, 64, 18>, nullptr, &kQ20},
};

}  // namespace

std::span<const Format> ggml_ternary_formats() { return kGgmlTernaryFormats; }

}  // namespace nibble
