// SPDX-License-Identifier: Apache-2.0
// The best scale and zero point of one group of integers.
#pragma once

#include <cstdint>

#include "tensors/dtype.h"

namespace nibble {

struct IntegerFitOptions {
  int bits = 4;
  bool symmetric = true;
  bool search = true;
  DType scale_dtype = DType::kF32;
};

struct IntegerFit {
  float scale = 1;  // a value of scale_dtype; negative where that fits better (symmetric codes have one more value below zero)
  float zero = 0;   // a code
};

// w [count] finite; importance [count] or null. Minimizes sum importance (w - scale (code - zero))^2 over shrunken and stretched
// scales; never worse than the plain scale of the compressed-tensors library, max|w| / ((2^bits - 1) / 2) or (max - min) / (2^bits
// - 1), which is what comes without a search.
IntegerFit FitIntegers(const float* w, const float* importance, int64_t count, const IntegerFitOptions& options);

// codes [count] = clamp(w / scale + zero, 0, 2^bits - 1) rounded to nearest, ties to even.
void EncodeIntegers(const float* w, int64_t count, int bits, const IntegerFit& fit, uint8_t* codes);

// value of scale_dtype nearest to x, but never zero or infinite.
float RoundScale(DType scale_dtype, float x);
// What a group of zeros gets.
float ScaleOfZeros(DType scale_dtype);

}  // namespace nibble
