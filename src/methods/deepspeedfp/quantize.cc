// SPDX-License-Identifier: Apache-2.0
#include "methods/deepspeedfp/quantize.h"

#include <bit>
#include <cmath>

namespace nibble {

const DeepSpeedFloat* FindDeepSpeedFloat(int64_t bits) {
  static constexpr DeepSpeedFloat kFloats[] = {{4, 1, 6}, {6, 2, 28}, {8, 3, 480}, {12, 4, 510}};
  for (const DeepSpeedFloat& format : kFloats)
    if (format.bits == bits) return &format;
  return nullptr;
}

uint16_t EncodeDeepSpeedFloat(const DeepSpeedFloat& format, float scaled) {
  const auto word = std::bit_cast<uint32_t>(scaled);
  const int cut = 23 - format.mantissa, exponent_bits = format.exponent();
  const int stored = static_cast<int>(word >> 23 & 255);
  int exponent = stored;
  uint32_t mantissa = (word & 0x7fffff) + (1u << (cut - 1));
  if (mantissa >> 23) ++exponent;  // carried; the kept bits are zero then
  if (stored != 0) {
    const int highest = (1 << (exponent_bits - 1)) + 128, lowest = 128 - ((1 << (exponent_bits - 1)) - 1);
    if (exponent > highest) {
      exponent = highest;
      mantissa = ((1u << format.mantissa) - 1) << 1;  // below the cut: keeps none, as the kernel does
    }
    if (exponent < lowest) {
      exponent = lowest;
      mantissa = 0;
    }
  }
  const uint32_t kept = mantissa >> cut & ((1u << format.mantissa) - 1);
  if (exponent != (1 << exponent_bits) - 1) exponent += (1 << (exponent_bits - 1)) - 1 - 127;
  const uint32_t magnitude_mask = (1u << (format.bits - 1)) - 1;
  const uint32_t magnitude = (static_cast<uint32_t>(exponent) << format.mantissa & magnitude_mask) | kept;
  return static_cast<uint16_t>(word >> 31 << (format.bits - 1) | magnitude);
}

float DecodeDeepSpeedFloat(const DeepSpeedFloat& format, uint16_t code) {
  const int bias = (1 << (format.exponent() - 1)) - 1;
  const int exponent = code >> format.mantissa & ((1 << format.exponent()) - 1);
  const int kept = code & ((1 << format.mantissa) - 1);
  const float magnitude = std::ldexp(1 + static_cast<float>(kept) / static_cast<float>(1 << format.mantissa), exponent - bias);
  return code >> (format.bits - 1) & 1 ? -magnitude : magnitude;
}

}  // namespace nibble
