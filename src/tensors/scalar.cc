// SPDX-License-Identifier: Apache-2.0
#include "tensors/scalar.h"

#include <algorithm>
#include <array>
#include <cmath>
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

constexpr SmallFloat kE4M3Spec = {4, 3, 7, false, true}, kE5M2Spec = {5, 2, 15, true, true};

SmallFloat Spec(DType dtype) {
  switch (dtype) {
    case DType::kE4M3: return kE4M3Spec;
    case DType::kE5M2: return kE5M2Spec;
    case DType::kE3M2: return {3, 2, 3, false, false};
    case DType::kE2M3: return {2, 3, 1, false, false};
    case DType::kE2M1: return {2, 1, 1, false, false};
    default: NIBBLE_CHECK(false, "{} is no small float", DTypeName(dtype));
  }
  return {};
}

float DecodeBits(const SmallFloat& s, unsigned code) {
  const unsigned mantissa = code & ((1u << s.mantissa_bits) - 1),
                 exponent = (code >> s.mantissa_bits) & ((1u << s.exponent_bits) - 1);
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
    value =
        std::ldexp(static_cast<float>(mantissa | (1u << s.mantissa_bits)), static_cast<int>(exponent) - s.bias - s.mantissa_bits);
  }
  return negative ? -value : value;
}

// Rounds |x| to nearest even on a grid of `mantissa_bits` whose subnormals end at 2^(1 - bias), without branches on the value's
// size: above, by adding half a step to the bits (ties look at the last kept bit); below, by letting an addition of a large enough
// power of two round.
inline unsigned RoundToGrid(const SmallFloat& s, uint32_t magnitude) {
  const int drop = 23 - s.mantissa_bits;
  const uint32_t smallest_normal = static_cast<uint32_t>(128 - s.bias) << 23;
  const uint32_t aligner = static_cast<uint32_t>(1 - s.bias - s.mantissa_bits + 23 + 127) << 23;  // its last bit weighs one step
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + std::bit_cast<float>(aligner)) - aligner;
  const uint32_t rounded = magnitude + (1u << (drop - 1)) - 1 + ((magnitude >> drop) & 1u);
  const uint32_t normal = (rounded >> drop) - (static_cast<uint32_t>(127 - s.bias) << s.mantissa_bits);
  return magnitude < smallest_normal ? tiny : normal;
}

// Nearest code, saturating at the code of the largest finite magnitude.
inline uint8_t EncodeBits(const SmallFloat& s, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), magnitude = bits & 0x7fffffffu;
  const unsigned sign = bits >> 31 << (s.mantissa_bits + s.exponent_bits);
  const unsigned all_ones = (1u << (s.mantissa_bits + s.exponent_bits)) - 1;
  const unsigned max_code = s.has_inf ? all_ones - (1u << s.mantissa_bits) : s.has_nan ? all_ones - 1 : all_ones;
  const unsigned finite = sign | std::min(RoundToGrid(s, magnitude), max_code), nan = s.has_nan ? sign | all_ones : 0;
  return static_cast<uint8_t>(magnitude > 0x7f800000u ? nan : finite);
}

// All codes of a small float, decoded once.
const std::array<float, 256>& DecodeTable(DType dtype) {
  static const auto tables = [] {
    std::array<std::array<float, 256>, 6> all{};
    for (int t = 0; t < 5; ++t) {
      const SmallFloat spec = Spec(static_cast<DType>(static_cast<int>(DType::kE4M3) + t));
      const unsigned mask = (1u << spec.bits()) - 1;
      for (unsigned code = 0; code < 256; ++code) all[static_cast<size_t>(t)][code] = DecodeBits(spec, code & mask);
    }
    for (int code = 0; code < 255; ++code) all[5][static_cast<size_t>(code)] = std::ldexp(1.0f, code - 127);
    all[5][255] = std::numeric_limits<float>::quiet_NaN();
    return all;
  }();
  NIBBLE_CHECK(dtype >= DType::kE4M3 && dtype <= DType::kE8M0, "{} is no small float", DTypeName(dtype));
  return tables[static_cast<size_t>(dtype) - static_cast<size_t>(DType::kE4M3)];
}

// Selects instead of branches, so that loops over rows become vector code.
inline float HalfToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, magnitude = static_cast<uint32_t>(h & 0x7fffu) << 13;
  const uint32_t normal = magnitude + (112u << 23);
  const uint32_t special = (magnitude + (224u << 23)) | ((magnitude & 0x7fffffu) != 0 ? 0x400000u : 0u);  // inf; NaN made quiet
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(normal + (1u << 23)) - 0x1p-14f);    // 2^-14 (1 + f) - 2^-14
  const uint32_t exponent = magnitude & 0x0f800000u;
  const uint32_t bits = exponent == 0 ? tiny : exponent == 0x0f800000u ? special : normal;
  return std::bit_cast<float>(bits | sign);
}

inline uint16_t FloatToHalf(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x), magnitude = u & 0x7fffffffu, sign = (u >> 16) & 0x8000u;
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;  // steps of 2^-24
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : 0x7c00u;
  const uint32_t code = magnitude >= 0x477ff000u ? special : magnitude < 0x38800000u ? tiny : normal;  // from 65520 on: infinity
  return static_cast<uint16_t>(sign | code);
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
  StoreAs<T>(data, index,
             rounded <= low    ? std::numeric_limits<T>::min()
             : rounded >= high ? std::numeric_limits<T>::max()
                               : static_cast<T>(rounded));
}

}  // namespace

float F16ToF32(uint16_t h) { return HalfToFloat(h); }
uint16_t F32ToF16(float x) { return FloatToHalf(x); }

float DecodeSmallFloat(DType dtype, uint8_t code) { return DecodeTable(dtype)[code]; }

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
  switch (dtype) {
    case DType::kF32: std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float)); return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = Bf16ToF32(LoadAs<uint16_t>(in, i));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = HalfToFloat(LoadAs<uint16_t>(in, i));
      return;
    case DType::kE4M3:
    case DType::kE5M2:
    case DType::kE3M2:
    case DType::kE2M3:
    case DType::kE2M1:
    case DType::kE8M0: {
      const std::array<float, 256>& table = DecodeTable(dtype);
      for (int64_t i = 0; i < count; ++i) out[i] = table[LoadAs<uint8_t>(in, i)];
      return;
    }
    default:
      for (int64_t i = 0; i < count; ++i) out[i] = LoadScalar(dtype, in, i);
  }
}

void ConvertFromF32(DType dtype, const float* in, int64_t count, std::byte* out) {
  switch (dtype) {
    case DType::kF32: std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float)); return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) StoreAs<uint16_t>(out, i, F32ToBf16(in[i]));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) StoreAs<uint16_t>(out, i, FloatToHalf(in[i]));
      return;
    case DType::kE4M3:
      for (int64_t i = 0; i < count; ++i) StoreAs<uint8_t>(out, i, EncodeBits(kE4M3Spec, in[i]));
      return;
    case DType::kE5M2:
      for (int64_t i = 0; i < count; ++i) StoreAs<uint8_t>(out, i, EncodeBits(kE5M2Spec, in[i]));
      return;
    default:
      for (int64_t i = 0; i < count; ++i) StoreScalar(dtype, out, i, in[i]);
  }
}

}  // namespace nibble
