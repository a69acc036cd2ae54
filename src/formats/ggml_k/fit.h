// SPDX-License-Identifier: Apache-2.0
// The fits of the k-quant encoders: one scale (and minimum) and the codes for one group. All sums are f32 in element order, so that
// the result equals the reference encoder's bit for bit.
#pragma once

#include <cstdint>

namespace nibble {

// A group whose largest magnitude is below this is stored as zeros.
inline constexpr float kZeroGroup = 1e-15f;

// x ~ scale * (codes - half), codes in [0, 2 half), weights x^2. Grid search over 19 scales near -half / (signed absolute maximum).
float FitSymmetric(const float* x, int n, int half, uint8_t* codes);

// The same model for few levels: one start, then up to five sweeps that move one code at a time.
float FitByDescent(const float* x, int n, int half, uint8_t* codes);

// x ~ scale * codes - min, codes in [0, max_code], min >= 0.
struct AffineSearch {
  int max_code;
  float first, step;  // trial s stretches the range by (first + step * s + max_code) / max_code
  int steps;
  bool absolute;  // judge by sum w |error| instead of sum w error^2
};
struct AffineFit {
  float scale = 0, min = 0;
};
AffineFit FitAffine(const float* x, const float* weights, int n, const AffineSearch& search, uint8_t* codes);

}  // namespace nibble
