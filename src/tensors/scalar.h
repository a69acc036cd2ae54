// SPDX-License-Identifier: Apache-2.0
// Exact conversions between f32 and the stored scalar types. Decoding is exact; encoding rounds to nearest, ties to even.
// Overflow: f16 and bf16 go to infinity; all small floats saturate to the largest finite value, e5m2 too, as the hardware's
// saturating conversions do.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "tensors/dtype.h"

namespace nibble {

inline float Bf16ToF32(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }

// NaN stays NaN (quiet bit set).
inline uint16_t F32ToBf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float F16ToF32(uint16_t h);
uint16_t F32ToF16(float x);

// Value of a one-byte float code (e4m3, e5m2, e8m0; e3m2, e2m3, e2m1 in the low bits). e8m0: 2^(code-127), 255 is NaN.
float DecodeSmallFloat(DType dtype, uint8_t code);
// Nearest code, saturating to the largest finite value; NaN gives the format's NaN where it has one, else 0.
// e8m0: nearest power of two of |x| (ties to the even exponent), 0 gives code 0.
uint8_t EncodeSmallFloat(DType dtype, float x);

// Element `index` of contiguous data of any dtype, as f32 (64-bit integers and f64 are rounded). Unaligned data is fine.
float LoadScalar(DType dtype, const std::byte* data, int64_t index);
// The reverse: rounds (floats), rounds to nearest even and saturates (integers).
void StoreScalar(DType dtype, std::byte* data, int64_t index, float value);

// Whole rows; `out` may not alias `in`.
void ConvertToF32(DType dtype, const std::byte* in, int64_t count, float* out);
void ConvertFromF32(DType dtype, const float* in, int64_t count, std::byte* out);

}  // namespace nibble
