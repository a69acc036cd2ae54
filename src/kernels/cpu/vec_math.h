// SPDX-License-Identifier: Apache-2.0
// Elementary functions and short rows, once on F32x16; an ISA file includes its vec_*.h first.
#pragma once

#include <cstdint>

namespace nibble {
namespace {

constexpr int64_t kLanes = 16;

// Loads count (<= 16) values, the rest is `fill`.
inline F32x16 LoadPart(const float* p, int64_t count, float fill = 0) {
  if (count >= kLanes) return F32x16::Load(p);
  float padded[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) padded[i] = i < count ? p[i] : fill;
  return F32x16::Load(padded);
}
inline void StorePart(F32x16 x, float* p, int64_t count) {
  if (count >= kLanes) return x.Store(p);
  float padded[kLanes];
  x.Store(padded);
  for (int64_t i = 0; i < count; ++i) p[i] = padded[i];
}
// The first `count` (<= 16) lanes of x, the rest is `fill`.
inline F32x16 LanesOr(F32x16 x, int64_t count, float fill) {
  if (count >= kLanes) return x;
  float padded[kLanes];
  x.Store(padded);
  for (int64_t i = count; i < kLanes; ++i) padded[i] = fill;
  return F32x16::Load(padded);
}
template <typename F>
inline void ForParts(int64_t width, const F& f) {
  for (int64_t i = 0; i < width; i += kLanes) f(i, width - i < kLanes ? width - i : kLanes);
}

// exp: x = n ln2 + r, |r| <= ln2 / 2, then a degree-6 Taylor-like minimax polynomial in r; relative error below 2e-7. x is held
// within [-87.3, 88.37]: nothing becomes 0, infinity or NaN.
inline F32x16 Exp(F32x16 x) {
  const F32x16 clamped = F32x16::Min(F32x16::Max(x, F32x16::Set(-87.3f)), F32x16::Set(88.37f));
  const F32x16 n = F32x16::Round(clamped * F32x16::Set(1.44269504088896341f));
  F32x16 r = F32x16::Fma(n, F32x16::Set(-0.693359375f), clamped);
  r = F32x16::Fma(n, F32x16::Set(2.12194440e-4f), r);
  F32x16 p = F32x16::Set(1.9875691500e-4f);
  p = F32x16::Fma(p, r, F32x16::Set(1.3981999507e-3f));
  p = F32x16::Fma(p, r, F32x16::Set(8.3334519073e-3f));
  p = F32x16::Fma(p, r, F32x16::Set(4.1665795894e-2f));
  p = F32x16::Fma(p, r, F32x16::Set(1.6666665459e-1f));
  p = F32x16::Fma(p, r, F32x16::Set(5.0000001201e-1f));
  p = F32x16::Fma(p, r * r, r + F32x16::Set(1.0f));
  return F32x16::Scale2(p, n);
}
inline F32x16 Sigmoid(F32x16 x) { return F32x16::Set(1.0f) / (F32x16::Set(1.0f) + Exp(F32x16::Zero() - x)); }
// tanh(x) = 1 - 2 / (exp(2x) + 1)
inline F32x16 Tanh(F32x16 x) { return F32x16::Set(1.0f) - F32x16::Set(2.0f) / (Exp(x + x) + F32x16::Set(1.0f)); }
// erf by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, which is what gelu needs in f32.
inline F32x16 Erf(F32x16 x) {
  const F32x16 sign_free = F32x16::Max(x, F32x16::Zero() - x), one = F32x16::Set(1.0f);
  const F32x16 t = one / F32x16::Fma(F32x16::Set(0.3275911f), sign_free, one);
  F32x16 p = F32x16::Set(1.061405429f);
  p = F32x16::Fma(p, t, F32x16::Set(-1.453152027f));
  p = F32x16::Fma(p, t, F32x16::Set(1.421413741f));
  p = F32x16::Fma(p, t, F32x16::Set(-0.284496736f));
  p = F32x16::Fma(p, t, F32x16::Set(0.254829592f));
  const F32x16 magnitude = one - p * t * Exp(F32x16::Zero() - sign_free * sign_free);
  // Sign of x without branches: x / |x|, with 0 / tiny = 0.
  return magnitude * (x / F32x16::Max(sign_free, F32x16::Set(1e-37f)));
}

}  // namespace
}  // namespace nibble
