// SPDX-License-Identifier: Apache-2.0
// mxfp4, nvfp4: e2m1 codes under scales that are powers of two or e4m3 without sign. README.md has the bit pictures.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

// e2m1, doubled; so the scales are halved.
constexpr int8_t kFp4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128). e = 255 is no number; ggml takes it for one, and so do we.
float HalfE8m0(unsigned e) { return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23); }

// Half of an unsigned e4m3; 0x7f means 0.
float HalfUe4m3(unsigned s) {
  if (s == 0 || s == 0x7f) return 0;
  const unsigned exponent = (s >> 3) & 15u;
  const auto mantissa = static_cast<float>(s & 7u);
  return exponent == 0 ? mantissa * 0x1p-10f : std::ldexp(1 + mantissa / 8, static_cast<int>(exponent) - 8);
}

void SplitMxfp4(const std::byte*, const std::byte* b, uint8_t* codes, float* scale) {
  scale[0] = HalfE8m0(Byte(b, 0));
  UnpackNibbles32(b + 1, codes);
}
// Sub-block s of 16: byte 8 s + j holds elements j and j + 8.
void SplitNvfp4(const std::byte*, const std::byte* b, uint8_t* codes, float* scale) {
  for (int s = 0; s < 4; ++s) {
    scale[s] = HalfUe4m3(Byte(b, s));
    for (int j = 0; j < 8; ++j) {
      const unsigned both = Byte(b, 4 + 8 * s + j);
      codes[16 * s + j] = static_cast<uint8_t>(both & 15u);
      codes[16 * s + 8 + j] = static_cast<uint8_t>(both >> 4);
    }
  }
}

constexpr BlockSplit kMxfp4{.bits = 4, .sub_elems = 32, .table = kFp4Levels, .split_scales = SplitMxfp4};
constexpr BlockSplit kNvfp4{.bits = 4, .sub_elems = 16, .table = kFp4Levels, .split_scales = SplitNvfp4};

constexpr Format kGgmlFp4Formats[] = {
    {"mxfp4", "ggml: e2m1 codes, power-of-two scale per 32", 39, 32, 17, 0, DecodeBlocks<kMxfp4, 32, 17>, nullptr, &kMxfp4},
    {"nvfp4", "ggml: e2m1 codes, e4m3 scale per 16", 40, 64, 36, 0, DecodeBlocks<kNvfp4, 64, 36>, nullptr, &kNvfp4},
};

}  // namespace

std::span<const Format> ggml_fp4_formats() { return kGgmlFp4Formats; }

}  // namespace nibble
