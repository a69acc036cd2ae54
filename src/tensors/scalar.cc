// SPDX-License-Identifier: Apache-2.0
#include "tensors/scalar.h"

#include <cmath>
#include <algorithm>
#include <limits>

#include "base/check.h"

namespace nibble {
namespace {

// Sign, exponent and mantissa widths of the small floats, and what their top codes mean.
struct SmallFloat {
  int exponent_bits, mantissa_bits, bias;
  bool has_inf, has_nan;  // e5m2: both as IEEE; e4m3fn: NaN at all ones only
  int bits() const { return 1 + exponent_bits + mantissa_bits; }
};

SmallFloat Spec(DType dtype) {
  switch (dtype) {
    case DType::kE4M3: return {4, 3, 7, false, true};
    case DType::kE5M2: return {5, 2, 15, true, true};
    case DType::kE3M2: return {3, 2, 3, false, false};
    case DType::kE2M3: return {2, 3, 1, false, false};
    case DType::kE2M1: return {2, 1, 1, false, false};
    default: NIBBLE_CHECK(false, "{} is no small float", DTypeName(dtype));
  }
  return {};
}

float DecodeBits(const SmallFloat& s, unsigned code) {
  const unsigned mantissa = code & ((1u << s.mantissa_bits) - 1), exponent = (code >> s.mantissa_bits) & ((1u << s.exponent_bits) - 1);
  const bool negative = (code >> (s.mantissa_bits + s.exponent_bits)) & 1u;
  const unsigned top = (1u << s.exponent_bits) - 1;
  float value;
  if (exponent == top && s.has_inf) {
    value = mantissa ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (exponent == top && s.has_nan && mantissa == (1u << s.mantissa_bits) - 1) {
    value = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), 1 - s.bias - s.mantissa_bits);
  } else {
    value = std::ldexp(static_cast<float>(mantissa | (1u << s.mantissa_bits)), static_cast<int>(exponent) - s.bias - s.mantissa_bits);
  }
  return negative ? -value : value;
}

// Round-to-nearest-even onto a small float grid, saturating at `max_code` (the code of the largest finite magnitude).
uint8_t EncodeBits(const SmallFloat& s, float x) {
  const unsigned sign = std::signbit(x) ? 1u << (s.mantissa_bits + s.exponent_bits) : 0;
  const unsigned all_ones = (1u << (s.mantissa_bits + s.exponent_bits)) - 1;
  if (std::isnan(x)) return static_cast<uint8_t>(s.has_nan ? sign | all_ones : 0);
  const unsigned max_code = s.has_inf ? all_ones - (1u << s.mantissa_bits) : s.has_nan ? all_ones - 1 : all_ones;
  const float magnitude = std::fabs(x);
  if (std::isinf(x)) return static_cast<uint8_t>(sign | max_code);
  if (magnitude == 0) return static_cast<uint8_t>(sign);  // frexp gives 0 no small exponent
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude = f * 2^exponent, f in [0.5, 1)
  const int floor_exponent = std::max(exponent - 1, 1 - s.bias);
  // Integer number of grid steps; nearbyint rounds half to even, and even steps are even codes.
  const float steps = std::nearbyint(std::ldexp(magnitude, s.mantissa_bits - floor_exponent));
  const auto code = static_cast<unsigned>(steps) + (static_cast<unsigned>(floor_exponent + s.bias - 1) << s.mantissa_bits);
  return static_cast<uint8_t>(sign | std::min(code, max_code));
}

template <typename T>
T LoadAs(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
void StoreAs(std::byte* data, int64_t index, T value) {
  std::memcpy(data + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}
template <typename T>
void StoreInteger(std::byte* data, int64_t index, float value) {
  const double low = static_cast<double>(std::numeric_limits<T>::min()), high = static_cast<double>(std::numeric_limits<T>::max());
  const double rounded = std::nearbyint(static_cast<double>(value));
  if (std::isnan(rounded)) return StoreAs<T>(data, index, 0);
  StoreAs<T>(data, index, rounded <= low ? std::numeric_limits<T>::min() : rounded >= high ? std::numeric_limits<T>::max() : static_cast<T>(rounded));
}

}  // namespace

float F16ToF32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13) | (mantissa ? 0x400000u : 0));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float value = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal: exact
  return sign ? -value : value;
}

uint16_t F32ToF16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x), magnitude = u & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 2^16 or more
  if (magnitude < 0x38800000u) {                                              // below 2^-14: subnormal steps of 2^-24
    const float steps = std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f);
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(steps));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float DecodeSmallFloat(DType dtype, uint8_t code) {
  if (dtype == DType::kE8M0) return code == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, static_cast<int>(code) - 127);
  return DecodeBits(Spec(dtype), code);
}

uint8_t EncodeSmallFloat(DType dtype, float x) {
  if (dtype != DType::kE8M0) return EncodeBits(Spec(dtype), x);
  if (std::isnan(x)) return 255;
  const float magnitude = std::fabs(x);
  if (magnitude == 0) return 0;
  if (std::isinf(x)) return 254;
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // [0.5, 1): nearest of 2^(exponent-1) and 2^exponent
  int code = exponent - 1 + 127;
  if (fraction > 0.75f || (fraction == 0.75f && (code & 1))) ++code;
  return static_cast<uint8_t>(code < 0 ? 0 : code > 254 ? 254 : code);
}

float LoadScalar(DType dtype, const std::byte* data, int64_t index) {
  switch (dtype) {
    case DType::kF64: return static_cast<float>(LoadAs<double>(data, index));
    case DType::kF32: return LoadAs<float>(data, index);
    case DType::kF16: return F16ToF32(LoadAs<uint16_t>(data, index));
    case DType::kBF16: return Bf16ToF32(LoadAs<uint16_t>(data, index));
    case DType::kI8: return LoadAs<int8_t>(data, index);
    case DType::kU8:
    case DType::kBool: return LoadAs<uint8_t>(data, index);
    case DType::kI16: return LoadAs<int16_t>(data, index);
    case DType::kU16: return LoadAs<uint16_t>(data, index);
    case DType::kI32: return static_cast<float>(LoadAs<int32_t>(data, index));
    case DType::kU32: return static_cast<float>(LoadAs<uint32_t>(data, index));
    case DType::kI64: return static_cast<float>(LoadAs<int64_t>(data, index));
    case DType::kU64: return static_cast<float>(LoadAs<uint64_t>(data, index));
    case DType::kNone: break;
    default: return DecodeSmallFloat(dtype, LoadAs<uint8_t>(data, index));
  }
  NIBBLE_CHECK(false, "load of {}", DTypeName(dtype));
  return 0;
}

void StoreScalar(DType dtype, std::byte* data, int64_t index, float value) {
  switch (dtype) {
    case DType::kF64: return StoreAs<double>(data, index, value);
    case DType::kF32: return StoreAs<float>(data, index, value);
    case DType::kF16: return StoreAs<uint16_t>(data, index, F32ToF16(value));
    case DType::kBF16: return StoreAs<uint16_t>(data, index, F32ToBf16(value));
    case DType::kI8: return StoreInteger<int8_t>(data, index, value);
    case DType::kU8:
    case DType::kBool: return StoreInteger<uint8_t>(data, index, value);
    case DType::kI16: return StoreInteger<int16_t>(data, index, value);
    case DType::kU16: return StoreInteger<uint16_t>(data, index, value);
    case DType::kI32: return StoreInteger<int32_t>(data, index, value);
    case DType::kU32: return StoreInteger<uint32_t>(data, index, value);
    case DType::kI64: return StoreInteger<int64_t>(data, index, value);
    case DType::kU64: return StoreInteger<uint64_t>(data, index, value);
    case DType::kNone: break;
    default: return StoreAs<uint8_t>(data, index, EncodeSmallFloat(dtype, value));
  }
  NIBBLE_CHECK(false, "store of {}", DTypeName(dtype));
}

void ConvertToF32(DType dtype, const std::byte* in, int64_t count, float* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = LoadScalar(dtype, in, i);
}

void ConvertFromF32(DType dtype, const float* in, int64_t count, std::byte* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) StoreScalar(dtype, out, i, in[i]);
}

}  // namespace nibble
