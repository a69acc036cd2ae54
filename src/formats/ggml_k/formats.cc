// SPDX-License-Identifier: Apache-2.0
// q2_k .. q6_k: super-blocks of 256 with coded scales per 16 or 32 elements. README.md has the bit pictures.
#include "formats/ggml_block.h"
#include "formats/ggml_k/encode.h"

namespace nibble {
namespace {

// Bit i / 32 of byte i % 32 belongs to element i; it is added as bit `place` of the code.
void AddHighBits(const std::byte* high, int place, uint8_t* codes) {
  for (int g = 0; g < 8; ++g)
    for (int l = 0; l < 32; ++l)
      codes[32 * g + l] = static_cast<uint8_t>(codes[32 * g + l] | (((Byte(high, l) >> g) & 1u) << place));
}
// Byte 32 c + l: element 64 c + l in the low nibble, 64 c + 32 + l in the high one.
void UnpackNibbles64(const std::byte* qs, uint8_t* codes) {
  for (int c = 0; c < 4; ++c)
    for (int l = 0; l < 32; ++l) {
      codes[64 * c + l] = static_cast<uint8_t>(Byte(qs, 32 * c + l) & 15u);
      codes[64 * c + 32 + l] = static_cast<uint8_t>(Byte(qs, 32 * c + l) >> 4);
    }
}
// The twelve bytes of q4_k and q5_k: 6-bit scale and minimum of eight groups.
void UnpackScales12(const std::byte* sc, int8_t* sub, uint8_t* sub_min) {
  for (int j = 0; j < 4; ++j) {
    sub[j] = static_cast<int8_t>(Byte(sc, j) & 63u);
    sub_min[j] = static_cast<uint8_t>(Byte(sc, j + 4) & 63u);
    sub[j + 4] = static_cast<int8_t>((Byte(sc, j + 8) & 15u) | ((Byte(sc, j) >> 6) << 4));
    sub_min[j + 4] = static_cast<uint8_t>((Byte(sc, j + 8) >> 4) | ((Byte(sc, j + 4) >> 6) << 4));
  }
}

void SplitQ2K(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t* dmin, int8_t* sub, uint8_t* sub_min) {
  for (int g = 0; g < 16; ++g) {
    sub[g] = static_cast<int8_t>(Byte(b, g) & 15u);
    sub_min[g] = static_cast<uint8_t>(Byte(b, g) >> 4);
  }
  UnpackPlane2(b + 16, codes);
  *d = U16At(b + 80);
  *dmin = U16At(b + 82);
}
// 6-bit scales stored + 32: low nibbles in bytes 0-7 (groups 0-7 low, 8-15 high), top pairs of group g in byte 8 + g % 4.
void SplitQ3K(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  const std::byte* sc = b + 96;
  for (int g = 0; g < 16; ++g) {
    const unsigned low = (Byte(sc, g % 8) >> (4 * (g / 8))) & 15u, high = (Byte(sc, 8 + g % 4) >> (2 * (g / 4))) & 3u;
    sub[g] = static_cast<int8_t>(static_cast<int>(low | (high << 4)) - 32);
  }
  UnpackPlane2(b + 32, codes);
  AddHighBits(b, 2, codes);
  *d = U16At(b + 108);
}
void SplitQ4K(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t* dmin, int8_t* sub, uint8_t* sub_min) {
  *d = U16At(b);
  *dmin = U16At(b + 2);
  UnpackScales12(b + 4, sub, sub_min);
  UnpackNibbles64(b + 16, codes);
}
void SplitQ5K(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t* dmin, int8_t* sub, uint8_t* sub_min) {
  *d = U16At(b);
  *dmin = U16At(b + 2);
  UnpackScales12(b + 4, sub, sub_min);
  UnpackNibbles64(b + 48, codes);
  AddHighBits(b + 16, 4, codes);
}
// Element 128 h + 32 s + l: low four bits in ql[64 h + 32 (s & 1) + l], high nibble for s >= 2; top two in qh[32 h + l], bits 2 s.
void SplitQ6K(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  for (int h = 0; h < 2; ++h)
    for (int s = 0; s < 4; ++s)
      for (int l = 0; l < 32; ++l) {
        const unsigned low = (Byte(b, 64 * h + 32 * (s & 1) + l) >> (4 * (s / 2))) & 15u;
        const unsigned high = (Byte(b, 128 + 32 * h + l) >> (2 * s)) & 3u;
        codes[128 * h + 32 * s + l] = static_cast<uint8_t>(low | (high << 4));
      }
  std::memcpy(sub, b + 192, 16);
  *d = U16At(b + 208);
}

constexpr BlockSplit kQ2K{
    .bits = 2, .sub_elems = 16, .has_sub = true, .has_min = true, .has_sub_min = true, .sub_bits = 4, .split = SplitQ2K};
constexpr BlockSplit kQ3K{.bits = 3, .sub_elems = 16, .zero = 4, .has_sub = true, .split = SplitQ3K};
constexpr BlockSplit kQ4K{
    .bits = 4, .sub_elems = 32, .has_sub = true, .has_min = true, .has_sub_min = true, .sub_bits = 6, .split = SplitQ4K};
constexpr BlockSplit kQ5K{
    .bits = 5, .sub_elems = 32, .has_sub = true, .has_min = true, .has_sub_min = true, .sub_bits = 6, .split = SplitQ5K};
constexpr BlockSplit kQ6K{.bits = 6, .sub_elems = 16, .zero = 32, .has_sub = true, .split = SplitQ6K};

constexpr Format kGgmlKFormats[] = {
    {"q2_k", "ggml: 2-bit codes, 4-bit scale and minimum per 16", 10, 256, 84, 0, DecodeBlocks<kQ2K, 256, 84>,
     EncodeBlocks<EncodeQ2K, 256, 84>, &kQ2K},
    {"q3_k", "ggml: 3-bit codes, 6-bit scale per 16", 11, 256, 110, 0, DecodeBlocks<kQ3K, 256, 110>,
     EncodeBlocks<EncodeQ3K, 256, 110>, &kQ3K},
    {"q4_k", "ggml: 4-bit codes, 6-bit scale and minimum per 32", 12, 256, 144, 0, DecodeBlocks<kQ4K, 256, 144>,
     EncodeBlocks<EncodeQ4K, 256, 144>, &kQ4K},
    {"q5_k", "ggml: 5-bit codes, 6-bit scale and minimum per 32", 13, 256, 176, 0, DecodeBlocks<kQ5K, 256, 176>,
     EncodeBlocks<EncodeQ5K, 256, 176>, &kQ5K},
    {"q6_k", "ggml: 6-bit codes, int8 scale per 16", 14, 256, 210, 0, DecodeBlocks<kQ6K, 256, 210>,
     EncodeBlocks<EncodeQ6K, 256, 210>, &kQ6K},
};

}  // namespace

std::span<const Format> ggml_k_formats() { return kGgmlKFormats; }

}  // namespace nibble
