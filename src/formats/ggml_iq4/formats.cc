// SPDX-License-Identifier: Apache-2.0
// iq4_nl, iq4_xs: 4-bit indices into one fixed table of 16 levels. README.md has the bit pictures.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

constexpr const int8_t (&kIq4Levels)[16] = kNonLinearLevels;
constexpr float kIq4ZeroGroup = 1e-15f;  // a group whose largest magnitude is below is stored as scale 0
constexpr int kTrials = 7;

void SplitIq4Nl(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t*, uint8_t*) {
  *d = U16At(b);
  UnpackNibbles32(b + 2, codes);
}
// Sub-scale s of 6 bits: low nibbles in scales_l, high pairs in scales_h; stored + 32.
void SplitIq4Xs(const std::byte* b, uint8_t* codes, uint16_t* d, uint16_t*, int8_t* sub, uint8_t*) {
  *d = U16At(b);
  const unsigned scales_h = U16At(b + 2);
  for (int s = 0; s < 8; ++s) {
    const unsigned low = (Byte(b, 4 + s / 2) >> (4 * (s % 2))) & 15u, high = (scales_h >> (2 * s)) & 3u;
    sub[s] = static_cast<int8_t>(static_cast<int>(low | (high << 4)) - 32);
    UnpackNibbles32(b + 8 + 16 * s, codes + 32 * s);
  }
}

constexpr BlockSplit kIq4Nl{.bits = 4, .sub_elems = 32, .table = kIq4Levels, .split = SplitIq4Nl};
constexpr BlockSplit kIq4Xs{.bits = 4, .sub_elems = 32, .has_sub = true, .table = kIq4Levels, .split = SplitIq4Xs};

// Index of the nearest level; the upper one in a tie.
int NearestLevel(float x) {
  if (!(x > kIq4Levels[0])) return 0;
  if (x >= kIq4Levels[15]) return 15;
  const int above = static_cast<int>(std::upper_bound(kIq4Levels, kIq4Levels + 16, x) - kIq4Levels);
  return x - kIq4Levels[above - 1] < kIq4Levels[above] - x ? above - 1 : above;
}

// Least squares with weights x^2 of one scale for given codes: sums over q = level of (x * inverse).
struct Sums {
  float qx = 0, q2 = 0;
};
Sums Fit(const float* x, float inverse) {
  Sums sums;
  for (int i = 0; i < 32; ++i) {
    const float q = kIq4Levels[NearestLevel(inverse * x[i])], w = x[i] * x[i];
    sums.qx += w * q * x[i];
    sums.q2 += w * q * q;
  }
  return sums;
}

// The scale of one group of 32: the best of 1 + 15 trials that each map the largest element near the first level. 0: empty group.
float GroupScale(const float* x) {
  const float max = SignedAbsMax(x, 32);
  if (std::fabs(max) < kIq4ZeroGroup) return 0;
  const Sums start = Fit(x, 1.0f / (-max / kIq4Levels[0]));
  float d = start.qx / start.q2, best = d * start.qx;
  for (int trial = -kTrials; trial <= kTrials; ++trial) {
    const Sums sums = Fit(x, static_cast<float>(trial + kIq4Levels[0]) / max);
    if (sums.q2 > 0 && sums.qx * sums.qx > best * sums.q2) {
      d = sums.qx / sums.q2;
      best = d * sums.qx;
    }
  }
  return d;
}

void PutGroup(const float* x, float inverse, std::byte* out) {
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(NearestLevel(inverse * x[i]));
  PackNibbles32(codes, out);
}

void EncodeIq4Nl(const float* x, std::byte* b) {
  const float d = GroupScale(x);
  PutU16(b, F32ToF16(d));
  PutGroup(x, d != 0 ? 1.0f / d : 0.0f, b + 2);
}

void EncodeIq4Xs(const float* x, std::byte* b) {
  float scales[8];
  for (int s = 0; s < 8; ++s) scales[s] = GroupScale(x + 32 * s);
  const float d = -SignedAbsMax(scales, 8) / 32.0f;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  PutU16(b, F32ToF16(d));
  unsigned scales_h = 0;
  uint8_t scales_l[4] = {};
  for (int s = 0; s < 8; ++s) {
    const int code = std::clamp(NearestInt(inverse * scales[s]), -32, 31);
    const float group = d * static_cast<float>(code);  // the unrounded d
    PutGroup(x + 32 * s, group != 0 ? 1.0f / group : 0.0f, b + 8 + 16 * s);
    const auto stored = static_cast<unsigned>(code + 32);
    scales_l[s / 2] = static_cast<uint8_t>(scales_l[s / 2] | ((stored & 15u) << (4 * (s % 2))));
    scales_h |= (stored >> 4) << (2 * s);
  }
  PutU16(b + 2, static_cast<uint16_t>(scales_h));
  std::memcpy(b + 4, scales_l, 4);
}

constexpr Format kGgmlIq4Formats[] = {
    {"iq4_nl", "ggml: 4-bit table codes, f16 scale per 32", 20, 32, 18, 0, DecodeBlocks<kIq4Nl, 32, 18>,
     EncodeBlocks<EncodeIq4Nl, 32, 18>, &kIq4Nl},
    {"iq4_xs", "ggml: 4-bit table codes, 6-bit scales per 32", 23, 256, 136, 0, DecodeBlocks<kIq4Xs, 256, 136>,
     EncodeBlocks<EncodeIq4Xs, 256, 136>, &kIq4Xs},
};

}  // namespace

std::span<const Format> ggml_iq4_formats() { return kGgmlIq4Formats; }

}  // namespace nibble
