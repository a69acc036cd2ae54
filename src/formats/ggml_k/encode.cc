// SPDX-License-Identifier: Apache-2.0
// Common plan: fit every group, code the group scales against their maximum, then choose the codes anew under the scales as stored.
// A group whose stored scale is zero keeps the codes of the fit.
#include "formats/ggml_k/encode.h"

#include "formats/ggml_block.h"
#include "formats/ggml_k/fit.h"

namespace nibble {
namespace {

constexpr int kElems = 256;

float AsStored(float x) { return F16ToF32(F32ToF16(x)); }

// codes = round((x + min) / scale) clamped, unless scale is 0.
void Recode(const float* x, int n, float scale, float min, int low, int high, uint8_t* codes) {
  if (scale == 0) return;
  for (int i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(std::clamp(NearestInt((x[i] + min) / scale), low, high) - low);
}

// 2-bit planes: element 128 h + 32 s + l is in byte 32 h + l, bits 2 s.
void PackPlane2(const uint8_t* codes, std::byte* out) {
  for (int h = 0; h < 2; ++h)
    for (int l = 0; l < 32; ++l) {
      unsigned byte = 0;
      for (int s = 0; s < 4; ++s) byte |= (codes[128 * h + 32 * s + l] & 3u) << (2 * s);
      out[32 * h + l] = static_cast<std::byte>(byte);
    }
}

// q4_k and q5_k: eight groups of 32, 6-bit scales and minima against the largest of each.
struct AffineGroups {
  uint8_t codes[kElems];
  uint8_t scale[8], min[8];
  uint16_t d, dmin;
};
AffineGroups FitAffineGroups(const float* x, const AffineSearch& search) {
  AffineGroups out;
  AffineFit fits[8];
  float max_scale = 0, max_min = 0;
  for (int g = 0; g < 8; ++g) {
    const float* group = x + 32 * g;
    float sum = 0, weights[32];
    for (int i = 0; i < 32; ++i) sum += group[i] * group[i];
    const float rms = std::sqrt(sum / 32);
    for (int i = 0; i < 32; ++i) weights[i] = rms + std::fabs(group[i]);
    fits[g] = FitAffine(group, weights, 32, search, out.codes + 32 * g);
    max_scale = std::max(max_scale, fits[g].scale);
    max_min = std::max(max_min, fits[g].min);
  }
  const float inverse_scale = max_scale > 0 ? 63.0f / max_scale : 0.0f, inverse_min = max_min > 0 ? 63.0f / max_min : 0.0f;
  out.d = F32ToF16(max_scale / 63.0f);
  out.dmin = F32ToF16(max_min / 63.0f);
  for (int g = 0; g < 8; ++g) {
    out.scale[g] = std::min<uint8_t>(63, static_cast<uint8_t>(NearestInt(inverse_scale * fits[g].scale)));
    out.min[g] = std::min<uint8_t>(63, static_cast<uint8_t>(NearestInt(inverse_min * fits[g].min)));
    Recode(x + 32 * g, 32, F16ToF32(out.d) * static_cast<float>(out.scale[g]), F16ToF32(out.dmin) * static_cast<float>(out.min[g]),
           0, search.max_code, out.codes + 32 * g);
  }
  return out;
}
// The 12 bytes of 6-bit pairs: groups 0-3 in bytes 0-3 (scale) and 4-7 (min); groups 4-7 as nibbles in 8-11, their top bits above.
void PackScales12(const AffineGroups& groups, std::byte* out) {
  for (int j = 0; j < 4; ++j) {
    const unsigned s = groups.scale[j + 4], m = groups.min[j + 4];
    out[j] = static_cast<std::byte>(groups.scale[j] | ((s >> 4) << 6));
    out[j + 4] = static_cast<std::byte>(groups.min[j] | ((m >> 4) << 6));
    out[j + 8] = static_cast<std::byte>((s & 15u) | ((m & 15u) << 4));
  }
}
// Byte 32 c + l: element 64 c + l in the low nibble, 64 c + 32 + l in the high one.
void PackNibbles64(const uint8_t* codes, std::byte* out) {
  for (int c = 0; c < 4; ++c)
    for (int l = 0; l < 32; ++l)
      out[32 * c + l] = static_cast<std::byte>((codes[64 * c + l] & 15u) | ((codes[64 * c + 32 + l] & 15u) << 4));
}

}  // namespace

void EncodeQ2K(const float* x, std::byte* block) {
  constexpr AffineSearch kSearch{.max_code = 3, .first = -0.5f, .step = 0.1f, .steps = 15, .absolute = true};
  uint8_t codes[kElems];
  AffineFit fits[16];
  float max_scale = 0, max_min = 0;
  for (int g = 0; g < 16; ++g) {
    float weights[16];
    for (int i = 0; i < 16; ++i) weights[i] = std::fabs(x[16 * g + i]);
    fits[g] = FitAffine(x + 16 * g, weights, 16, kSearch, codes + 16 * g);
    max_scale = std::max(max_scale, fits[g].scale);
    max_min = std::max(max_min, fits[g].min);
  }
  const float d = AsStored(max_scale / 15.0f), dmin = AsStored(max_min / 15.0f);
  const float inverse_scale = max_scale > 0 ? 15.0f / max_scale : 0.0f, inverse_min = max_min > 0 ? 15.0f / max_min : 0.0f;
  for (int g = 0; g < 16; ++g) {
    const unsigned s = static_cast<unsigned>(NearestInt(inverse_scale * fits[g].scale)) & 15u;
    const unsigned m = static_cast<unsigned>(NearestInt(inverse_min * fits[g].min)) & 15u;
    block[g] = static_cast<std::byte>(s | (m << 4));
    Recode(x + 16 * g, 16, d * static_cast<float>(s), dmin * static_cast<float>(m), 0, 3, codes + 16 * g);
  }
  PackPlane2(codes, block + 16);
  PutU16(block + 80, F32ToF16(max_scale / 15.0f));
  PutU16(block + 82, F32ToF16(max_min / 15.0f));
}

void EncodeQ3K(const float* x, std::byte* block) {
  uint8_t codes[kElems];
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = FitByDescent(x + 16 * g, 16, 4, codes + 16 * g);
  const float max_scale = SignedAbsMax(scales, 16);
  const float inverse = max_scale != 0 ? -32.0f / max_scale : 0.0f;
  const float exact_d = max_scale != 0 ? 1 / inverse : 0.0f, d = AsStored(exact_d);
  uint8_t packed[12] = {};
  for (int g = 0; g < 16; ++g) {
    // Without any scale the reference leaves all twelve bytes zero.
    const int code = max_scale != 0 ? std::clamp(NearestInt(inverse * scales[g]), -32, 31) : -32;
    const auto stored = static_cast<unsigned>(code + 32);
    packed[g % 8] = static_cast<uint8_t>(packed[g % 8] | ((stored & 15u) << (4 * (g / 8))));
    packed[8 + g % 4] = static_cast<uint8_t>(packed[8 + g % 4] | ((stored >> 4) << (2 * (g / 4))));
    Recode(x + 16 * g, 16, d * static_cast<float>(code), 0, -4, 3, codes + 16 * g);
  }
  uint8_t high[32] = {};
  for (int i = 0; i < kElems; ++i) high[i % 32] = static_cast<uint8_t>(high[i % 32] | ((codes[i] >> 2) << (i / 32)));
  std::memcpy(block, high, 32);
  PackPlane2(codes, block + 32);
  std::memcpy(block + 96, packed, 12);
  PutU16(block + 108, F32ToF16(exact_d));
}

void EncodeQ4K(const float* x, std::byte* block) {
  const AffineGroups groups = FitAffineGroups(x, {.max_code = 15, .first = -1.0f, .step = 0.1f, .steps = 20, .absolute = false});
  PutU16(block, groups.d);
  PutU16(block + 2, groups.dmin);
  PackScales12(groups, block + 4);
  PackNibbles64(groups.codes, block + 16);
}

void EncodeQ5K(const float* x, std::byte* block) {
  const AffineGroups groups = FitAffineGroups(x, {.max_code = 31, .first = -0.5f, .step = 0.1f, .steps = 15, .absolute = false});
  PutU16(block, groups.d);
  PutU16(block + 2, groups.dmin);
  PackScales12(groups, block + 4);
  uint8_t high[32] = {};
  for (int i = 0; i < kElems; ++i) high[i % 32] = static_cast<uint8_t>(high[i % 32] | ((groups.codes[i] >> 4) << (i / 32)));
  std::memcpy(block + 16, high, 32);
  PackNibbles64(groups.codes, block + 48);
}

void EncodeQ6K(const float* x, std::byte* block) {
  uint8_t codes[kElems];
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = FitSymmetric(x + 16 * g, 16, 32, codes + 16 * g);
  const float max_scale = SignedAbsMax(scales, 16);
  if (std::fabs(max_scale) < kZeroGroup) {
    std::memset(block, 0, 210);
    return;
  }
  const float inverse = -128.0f / max_scale, d = AsStored(1 / inverse);
  for (int g = 0; g < 16; ++g) {
    const int code = std::clamp(NearestInt(inverse * scales[g]), -128, 127);
    block[192 + g] = static_cast<std::byte>(static_cast<int8_t>(code));
    Recode(x + 16 * g, 16, d * static_cast<float>(code), 0, -32, 31, codes + 16 * g);
  }
  uint8_t low[128] = {}, high[64] = {};
  for (int i = 0; i < kElems; ++i) {
    const int h = i / 128, s = i / 32 % 4, l = i % 32;
    uint8_t& lo = low[64 * h + 32 * (s & 1) + l];
    lo = static_cast<uint8_t>(lo | ((codes[i] & 15u) << (4 * (s / 2))));
    uint8_t& hi = high[32 * h + l];
    hi = static_cast<uint8_t>(hi | ((codes[i] >> 4) << (2 * s)));
  }
  std::memcpy(block, low, 128);
  std::memcpy(block + 128, high, 64);
  PutU16(block + 208, F32ToF16(1 / inverse));
}

}  // namespace nibble
