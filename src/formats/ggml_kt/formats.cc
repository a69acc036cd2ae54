// SPDX-License-Identifier: Apache-2.0
// iq1_kt .. iq4_kt of ik_llama.cpp: eight (iq4_kt: four) neighbours are a run of a multiplicative generator that starts at a stored
// seed. README.md has the bit pictures.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

constexpr uint32_t kMultiplier = 0xCBAC1FED, kByteMask = 0x3F3F3F3F;
constexpr int kCenter = 126;      // the mean of a sum of four six-bit fields
constexpr uint32_t kSeed = 4096;  // added to every stored seed

// The next `count` values of the generator, as codes 0..252 around kCenter.
template <int kCount>
void Generate(uint32_t x, uint8_t* codes) {
  for (int i = 0; i < kCount; ++i) {
    x *= kMultiplier;
    const uint32_t fields = x & kByteMask;
    codes[i] = static_cast<uint8_t>((fields & 255u) + ((fields >> 8) & 255u) + ((fields >> 16) & 255u) + (fields >> 24));
  }
}
unsigned NibbleAt(const std::byte* bytes, int i, int half) {  // low nibbles of all bytes first
  return i < half ? Byte(bytes, i) & 15u : Byte(bytes, i - half) >> 4;
}

void SplitIq1Kt(const std::byte* row, const std::byte* b, uint8_t* codes, float* scale) {
  for (int s = 0; s < 8; ++s) scale[s] = F32At(row) * static_cast<float>(kNonLinearLevels[Byte(b, s) & 15u]);
  for (int g = 0; g < 32; ++g) {
    const unsigned top = (Byte(b, g / 4) >> (4 + g % 4)) & 1u;
    Generate<8>((Byte(b, 8 + g) | (NibbleAt(b + 40, g, 16) << 8) | (top << 12)) + kSeed, codes + 8 * g);
  }
}
void SplitIq2Kt(const std::byte* row, const std::byte* b, uint8_t* codes, float* scale) {
  for (int s = 0; s < 8; ++s) scale[s] = F32At(row) * static_cast<float>(kNonLinearLevels[NibbleAt(b, s, 4)]);
  for (int g = 0; g < 32; ++g) Generate<8>(U16At(b + 4 + 2 * g) + kSeed, codes + 8 * g);
}
// Magnitudes from the generator, signs beside them.
void SplitIq3Kt(const std::byte* row, const std::byte* b, uint8_t* codes, float* scale) {
  for (int s = 0; s < 8; ++s) scale[s] = F32At(row) * static_cast<float>(NibbleAt(b, s, 4));
  for (int g = 0; g < 32; ++g) Generate<8>(U16At(b + 4 + 2 * g) + kSeed, codes + 8 * g);
  for (int i = 0; i < 256; ++i) {
    const int magnitude = std::abs(codes[i] - kCenter);
    const bool minus = (Byte(b, 68 + i % 32) >> (i / 32)) & 1u;
    codes[i] = static_cast<uint8_t>(minus ? kCenter - magnitude : kCenter + magnitude);
  }
}
void SplitIq4Kt(const std::byte* row, const std::byte* b, uint8_t* codes, float* scale) {
  for (int s = 0; s < 8; ++s) {
    const uint32_t head = U32At(b + 4 * s);
    scale[s] = F32At(row) * static_cast<float>(static_cast<int>((head & 255u) >> 1) - 64);
    for (int i = 0; i < 8; ++i) {
      const int g = 8 * s + i;
      const uint32_t seed = Byte(b, 32 + g) | (NibbleAt(b + 96, g, 32) << 8) | (((head >> (8 + 3 * i)) & 7u) << 12);
      Generate<4>(seed + kSeed + (head & 1u ? 32768u : 0u), codes + 4 * g);
    }
  }
}

constexpr BlockSplit kIq1Kt{.bits = 8, .sub_elems = 32, .zero = kCenter, .split_scales = SplitIq1Kt};
constexpr BlockSplit kIq2Kt{.bits = 8, .sub_elems = 32, .zero = kCenter, .split_scales = SplitIq2Kt};
constexpr BlockSplit kIq3Kt{.bits = 8, .sub_elems = 32, .zero = kCenter, .split_scales = SplitIq3Kt};
constexpr BlockSplit kIq4Kt{.bits = 8, .sub_elems = 32, .zero = kCenter, .split_scales = SplitIq4Kt};

constexpr Format kGgmlKtFormats[] = {
    {"iq1_kt", "ik_llama.cpp: 13-bit seeds of 8 values", 158, 256, 56, 4, DecodeBlocks<kIq1Kt, 256, 56, 4>, nullptr, &kIq1Kt},
    {"iq2_kt", "ik_llama.cpp: 16-bit seeds of 8 values", 153, 256, 68, 4, DecodeBlocks<kIq2Kt, 256, 68, 4>, nullptr, &kIq2Kt},
    {"iq3_kt", "ik_llama.cpp: 16-bit seeds of 8 magnitudes and signs", 154, 256, 100, 4, DecodeBlocks<kIq3Kt, 256, 100, 4>, nullptr,
     &kIq3Kt},
    {"iq4_kt", "ik_llama.cpp: 15-bit seeds of 4 values", 155, 256, 128, 4, DecodeBlocks<kIq4Kt, 256, 128, 4>, nullptr, &kIq4Kt},
};

}  // namespace

std::span<const Format> ggml_kt_formats() { return kGgmlKtFormats; }

}  // namespace nibble
