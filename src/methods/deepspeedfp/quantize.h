// SPDX-License-Identifier: Apache-2.0
// DeepSpeed's floats of 4, 6, 8 and 12 bits: sign, exponent, mantissa, no subnormals and no special values; exponent 0 is a binade
// like any other. value = (-1)^s (1 + m / 2^mantissa) 2^(e - bias), bias = 2^(exponent bits - 1) - 1.
#pragma once

#include <cstdint>

namespace nibble {

struct DeepSpeedFloat {
  int bits = 8, mantissa = 3;
  float range = 480;  // weights are scaled by range / amax of their group
  int exponent() const { return bits - 1 - mantissa; }
};

// 4: e2m1, range 6. 6: e3m2, 28. 8: e4m3, 480. 12: e7m4, 510. Null for other widths.
const DeepSpeedFloat* FindDeepSpeedFloat(int64_t bits);

// The code of an f32: half a unit of the last kept bit is added to the magnitude, what lies outside the exponents goes to the
// nearest of them. Exactly as the kernel does, zero included: its exponent wraps around, so that 0 becomes 2 (e4m3: code 0x40).
uint16_t EncodeDeepSpeedFloat(const DeepSpeedFloat& format, float scaled);
float DecodeDeepSpeedFloat(const DeepSpeedFloat& format, uint16_t code);

}  // namespace nibble
