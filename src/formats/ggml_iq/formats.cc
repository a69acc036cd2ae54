// SPDX-License-Identifier: Apache-2.0
// iq1_s .. iq3_s: groups of 8 or 4 elements are points of a fixed grid, with signs beside them. README.md has the bit pictures.
//
// To a kernel they are plain codes: the level of an element with its sign, which is what a point of the grid is made of.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

#include "formats/ggml_iq/grids.inc"

// Level and sign. 2-bit families: code = level | sign << 2.
constexpr int8_t kLevels2[8] = {8, 25, 43, 0, -8, -25, -43, 0};
// 3-bit families: code = level | sign << 3.
constexpr int8_t kLevels3Xxs[16] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62};
constexpr int8_t kLevels3S[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};
// 1-bit families: 8 (digit + delta), digit -1, 0, 1, delta +-1/8: code = (digit + 1) | (delta < 0) << 2.
constexpr int8_t kLevels1[8] = {-7, 1, 9, 0, -9, -1, 7, 0};

// Eight signs from seven bits: the eighth makes the number of minus signs even.
constexpr unsigned EvenSigns(unsigned seven) { return seven | static_cast<unsigned>(std::popcount(seven) & 1) << 7; }

// Eight elements: fields of `point` with bit 2 from the bits of `signs`.
void PutPoint2(unsigned point, unsigned signs, uint8_t* codes) {
  for (int j = 0; j < 8; ++j) codes[j] = static_cast<uint8_t>(((point >> (2 * j)) & 3u) | (((signs >> j) & 1u) << 2));
}
// Four elements of a 3-bit grid.
void PutPoint3(unsigned point, unsigned signs, uint8_t* codes) {
  for (int j = 0; j < 4; ++j) codes[j] = static_cast<uint8_t>(((point >> (3 * j)) & 7u) | (((signs >> j) & 1u) << 3));
}
int8_t OddScale(unsigned code) { return static_cast<int8_t>(2 * code + 1); }

void SplitIq2Xxs(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  for (int s = 0; s < 8; ++s) {
    const std::byte* words = b + 2 + 8 * s;
    const uint32_t signs = U32At(words + 4);
    sub[s] = OddScale(signs >> 28);
    for (int l = 0; l < 4; ++l) PutPoint2(kGrid2Xxs[Byte(words, l)], EvenSigns((signs >> (7 * l)) & 127u), codes + 32 * s + 8 * l);
  }
}

// Scales of 16 elements, nibbles of `bytes`, low first.
void UnpackOddScales(const std::byte* bytes, int8_t* sub) {
  for (int s = 0; s < 16; ++s) sub[s] = OddScale((Byte(bytes, s / 2) >> (4 * (s % 2))) & 15u);
}
void SplitIq2Xs(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  UnpackOddScales(b + 66, sub);
  for (int g = 0; g < 32; ++g) {
    const unsigned q = U16At(b + 2 + 2 * g);
    PutPoint2(kGrid2Xs[q & 511u], EvenSigns(q >> 9), codes + 8 * g);
  }
}
void SplitIq2S(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  UnpackOddScales(b + 74, sub);
  for (int g = 0; g < 32; ++g) {
    const unsigned high = (Byte(b, 66 + g / 4) >> (2 * (g % 4))) & 3u;
    PutPoint2(kGrid2S[Byte(b, 2 + g) | (high << 8)], Byte(b, 34 + g), codes + 8 * g);
  }
}
void SplitIq3Xxs(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  for (int s = 0; s < 8; ++s) {
    const uint32_t signs = U32At(b + 66 + 4 * s);
    sub[s] = OddScale(signs >> 28);
    for (int t = 0; t < 8; ++t) {
      const unsigned eight = EvenSigns((signs >> (7 * (t / 2))) & 127u);
      PutPoint3(kGrid3Xxs[Byte(b, 2 + 8 * s + t)], eight >> (4 * (t % 2)), codes + 32 * s + 4 * t);
    }
  }
}
void SplitIq3S(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  for (int s = 0; s < 8; ++s) sub[s] = OddScale((Byte(b, 106 + s / 2) >> (4 * (s % 2))) & 15u);
  for (int t = 0; t < 64; ++t) {
    const unsigned high = (Byte(b, 66 + t / 8) >> (t % 8)) & 1u;
    PutPoint3(kGrid3S[Byte(b, 2 + t) | (high << 8)], Byte(b, 74 + t / 2) >> (4 * (t % 2)), codes + 4 * t);
  }
}

// Eight digits with one delta.
void PutPoint1(unsigned index, bool minus, uint8_t* codes) { PutPoint2(kGrid1[index], minus ? 0xffu : 0u, codes); }
void SplitIq1S(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  for (int s = 0; s < 8; ++s) {
    const unsigned high = U16At(b + 34 + 2 * s);
    sub[s] = OddScale((high >> 12) & 7u);
    for (int l = 0; l < 4; ++l)
      PutPoint1(Byte(b, 2 + 4 * s + l) | (((high >> (3 * l)) & 7u) << 8), high & 0x8000u, codes + 32 * s + 8 * l);
  }
}
// The scale of the block hides in the top nibbles of the four words of sub-scales.
void SplitIq1M(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  unsigned scale = 0;
  for (int w = 0; w < 4; ++w) scale |= static_cast<unsigned>(U16At(b + 48 + 2 * w) >> 12) << (4 * w);
  *d = static_cast<uint16_t>(scale);
  for (int s = 0; s < 16; ++s) sub[s] = OddScale((static_cast<unsigned>(U16At(b + 48 + 2 * (s / 4))) >> (3 * (s % 4))) & 7u);
  for (int g = 0; g < 32; ++g) {
    const unsigned high = (Byte(b, 32 + g / 2) >> (4 * (g % 2))) & 15u;
    PutPoint1(Byte(b, g) | ((high & 7u) << 8), high & 8u, codes + 8 * g);
  }
}

constexpr BlockSplit kIq2Xxs{
    .bits = 3, .sub_elems = 32, .has_sub = true, .sub_bits = 5, .table = kLevels2, .unit = 0.125f, .split = SplitIq2Xxs};
constexpr BlockSplit kIq2Xs{
    .bits = 3, .sub_elems = 16, .has_sub = true, .sub_bits = 5, .table = kLevels2, .unit = 0.125f, .split = SplitIq2Xs};
constexpr BlockSplit kIq2S{
    .bits = 3, .sub_elems = 16, .has_sub = true, .sub_bits = 5, .table = kLevels2, .unit = 0.125f, .split = SplitIq2S};
constexpr BlockSplit kIq3Xxs{
    .bits = 4, .sub_elems = 32, .has_sub = true, .sub_bits = 5, .table = kLevels3Xxs, .unit = 0.25f, .split = SplitIq3Xxs};
constexpr BlockSplit kIq3S{.bits = 4, .sub_elems = 32, .has_sub = true, .sub_bits = 5, .table = kLevels3S, .split = SplitIq3S};
constexpr BlockSplit kIq1S{
    .bits = 3, .sub_elems = 32, .has_sub = true, .sub_bits = 4, .table = kLevels1, .unit = 0.125f, .split = SplitIq1S};
constexpr BlockSplit kIq1M{
    .bits = 3, .sub_elems = 16, .has_sub = true, .sub_bits = 4, .table = kLevels1, .unit = 0.125f, .split = SplitIq1M};

constexpr Format kGgmlIqFormats[] = {
    {"iq2_xxs", "ggml: 8-element grid of 256 points, 4-bit scale per 32", 16, 256, 66, 0, DecodeBlocks<kIq2Xxs, 256, 66>, nullptr,
     &kIq2Xxs},
    {"iq2_xs", "ggml: 8-element grid of 512 points, 4-bit scale per 16", 17, 256, 74, 0, DecodeBlocks<kIq2Xs, 256, 74>, nullptr,
     &kIq2Xs},
    {"iq2_s", "ggml: 8-element grid of 1024 points, 4-bit scale per 16", 22, 256, 82, 0, DecodeBlocks<kIq2S, 256, 82>, nullptr,
     &kIq2S},
    {"iq3_xxs", "ggml: 4-element grid of 256 points, 4-bit scale per 32", 18, 256, 98, 0, DecodeBlocks<kIq3Xxs, 256, 98>, nullptr,
     &kIq3Xxs},
    {"iq3_s", "ggml: 4-element grid of 512 points, 4-bit scale per 32", 21, 256, 110, 0, DecodeBlocks<kIq3S, 256, 110>, nullptr,
     &kIq3S},
    {"iq1_s", "ggml: ternary 8-element grid of 2048 points, 3-bit scale per 32", 19, 256, 50, 0, DecodeBlocks<kIq1S, 256, 50>,
     nullptr, &kIq1S},
    {"iq1_m", "ggml: ternary 8-element grid of 2048 points, 3-bit scale per 16", 29, 256, 56, 0, DecodeBlocks<kIq1M, 256, 56>,
     nullptr, &kIq1M},
};

}  // namespace

std::span<const Format> ggml_iq_formats() { return kGgmlIqFormats; }

}  // namespace nibble
