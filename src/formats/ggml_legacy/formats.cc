// SPDX-License-Identifier: Apache-2.0
// q4_0, q4_1, q5_0, q5_1, q8_0: blocks of 32 with one f16 scale, and one f16 minimum in the _1 types; q8_1 and q8_k, which ggml
// uses for activations. README.md has the bit pictures.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

// Fifth bits: bit j of the u32 belongs to element j.
void AddFifthBits(const std::byte* qh, uint8_t* codes) {
  const uint32_t bits = U32At(qh);
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<uint8_t>(codes[j] | (((bits >> j) & 1u) << 4));
}
void PutFifthBits(const uint8_t* codes, std::byte* qh) {
  uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<uint32_t>((codes[j] >> 4) & 1) << j;
  PutU32(qh, bits);
}
// Stored is + m, the split subtracts: flipping the sign bit is exact.
uint16_t NegatedF16(const std::byte* p) { return U16At(p) ^ 0x8000u; }

void SplitQ40(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  UnpackNibbles32(b + 2, codes);
}
void SplitQ41(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t* dmin, int8_t*, uint8_t*) {
  *d = U16At(b);
  *dmin = NegatedF16(b + 2);
  UnpackNibbles32(b + 4, codes);
}
void SplitQ50(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  UnpackNibbles32(b + 6, codes);
  AddFifthBits(b + 2, codes);
}
void SplitQ51(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t* dmin, int8_t*, uint8_t*) {
  *d = U16At(b);
  *dmin = NegatedF16(b + 2);
  UnpackNibbles32(b + 8, codes);
  AddFifthBits(b + 4, codes);
}
void UnpackInt8(const std::byte* q, int count, uint8_t* codes) {
  for (int i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(Byte(q, i) ^ 0x80u);  // i8 + 128
}
void SplitQ80(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  UnpackInt8(b + 2, 32, codes);
}
void SplitQ81(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  UnpackInt8(b + 4, 32, codes);
}
void SplitQ8K(const std::byte*, const std::byte* b, uint8_t* codes, float* scale) {
  scale[0] = F32At(b);
  UnpackInt8(b + 4, 256, codes);
}

constexpr BlockSplit kQ40{.bits = 4, .sub_elems = 32, .zero = 8, .split = SplitQ40};
constexpr BlockSplit kQ41{.bits = 4, .sub_elems = 32, .has_min = true, .split = SplitQ41};
constexpr BlockSplit kQ50{.bits = 5, .sub_elems = 32, .zero = 16, .split = SplitQ50};
constexpr BlockSplit kQ51{.bits = 5, .sub_elems = 32, .has_min = true, .split = SplitQ51};
constexpr BlockSplit kQ80{.bits = 8, .sub_elems = 32, .zero = 128, .split = SplitQ80};
constexpr BlockSplit kQ81{.bits = 8, .sub_elems = 32, .zero = 128, .split = SplitQ81};
constexpr BlockSplit kQ8K{.bits = 8, .sub_elems = 256, .zero = 128, .split_scales = SplitQ8K};

// Truncates like the reference's conversion to int8; NaN and values beyond int (only from NaN, Inf input) give `low`.
int Truncate(float x, int low, int high) {
  if (!(x > static_cast<float>(low))) return low;
  return x >= static_cast<float>(high) ? high : static_cast<int>(x);
}

// Symmetric: d = the largest element / -half, so that it maps to code 0 exactly. Codes come from the unrounded d.
template <int kHalf>
void SymmetricCodes(const float* x, float* d, uint8_t* codes) {
  *d = SignedAbsMax(x, 32) / static_cast<float>(-kHalf);
  const float inverse = *d != 0 ? 1.0f / *d : 0.0f;
  for (int i = 0; i < 32; ++i)
    codes[i] = static_cast<uint8_t>(Truncate(x[i] * inverse + (static_cast<float>(kHalf) + 0.5f), 0, 2 * kHalf - 1));
}
template <int kMax>
void AffineCodes(const float* x, float* d, float* min, uint8_t* codes) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  *min = *low;
  *d = (*high - *low) / static_cast<float>(kMax);
  const float inverse = *d != 0 ? 1.0f / *d : 0.0f;
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(Truncate((x[i] - *min) * inverse + 0.5f, 0, kMax));
}

void EncodeQ40(const float* x, std::byte* b) {
  float d;
  uint8_t codes[32];
  SymmetricCodes<8>(x, &d, codes);
  PutU16(b, F32ToF16(d));
  PackNibbles32(codes, b + 2);
}
void EncodeQ41(const float* x, std::byte* b) {
  float d, min;
  uint8_t codes[32];
  AffineCodes<15>(x, &d, &min, codes);
  PutU16(b, F32ToF16(d));
  PutU16(b + 2, F32ToF16(min));
  PackNibbles32(codes, b + 4);
}
void EncodeQ50(const float* x, std::byte* b) {
  float d;
  uint8_t codes[32];
  SymmetricCodes<16>(x, &d, codes);
  PutU16(b, F32ToF16(d));
  PutFifthBits(codes, b + 2);
  PackNibbles32(codes, b + 6);
}
void EncodeQ51(const float* x, std::byte* b) {
  float d, min;
  uint8_t codes[32];
  AffineCodes<31>(x, &d, &min, codes);
  PutU16(b, F32ToF16(d));
  PutU16(b + 2, F32ToF16(min));
  PutFifthBits(codes, b + 4);
  PackNibbles32(codes, b + 8);
}
void EncodeQ80(const float* x, std::byte* b) {
  const float d = std::fabs(SignedAbsMax(x, 32)) / 127.0f;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  PutU16(b, F32ToF16(d));
  for (int i = 0; i < 32; ++i) {
    const float rounded = std::round(x[i] * inverse);  // half away from zero
    b[2 + i] = static_cast<std::byte>(static_cast<int8_t>(Truncate(rounded, -127, 127)));
  }
}

constexpr Format kGgmlLegacyFormats[] = {
    {"q4_0", "ggml: 4-bit codes, f16 scale per 32", 2, 32, 18, 0, DecodeBlocks<kQ40, 32, 18>, EncodeBlocks<EncodeQ40, 32, 18>,
     &kQ40},
    {"q4_1", "ggml: 4-bit codes, f16 scale and minimum per 32", 3, 32, 20, 0, DecodeBlocks<kQ41, 32, 20>,
     EncodeBlocks<EncodeQ41, 32, 20>, &kQ41},
    {"q5_0", "ggml: 5-bit codes, f16 scale per 32", 6, 32, 22, 0, DecodeBlocks<kQ50, 32, 22>, EncodeBlocks<EncodeQ50, 32, 22>,
     &kQ50},
    {"q5_1", "ggml: 5-bit codes, f16 scale and minimum per 32", 7, 32, 24, 0, DecodeBlocks<kQ51, 32, 24>,
     EncodeBlocks<EncodeQ51, 32, 24>, &kQ51},
    {"q8_0", "ggml: int8 codes, f16 scale per 32", 8, 32, 34, 0, DecodeBlocks<kQ80, 32, 34>, EncodeBlocks<EncodeQ80, 32, 34>,
     &kQ80},
    {"q8_1", "ggml: int8 codes, f16 scale and sum per 32", 9, 32, 36, 0, DecodeBlocks<kQ81, 32, 36>, nullptr, &kQ81},
    {"q8_k", "ggml: int8 codes, f32 scale per 256", 15, 256, 292, 0, DecodeBlocks<kQ8K, 256, 292>, nullptr, &kQ8K},
};

}  // namespace

std::span<const Format> ggml_legacy_formats() { return kGgmlLegacyFormats; }

}  // namespace nibble
