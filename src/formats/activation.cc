// SPDX-License-Identifier: Apache-2.0
#include "formats/activation.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/math.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr float kE4m3Max = 448;

struct ScaleZero {
  float scale = 1, zero = 0;
};

struct CodeRange {
  float low, high;
};
CodeRange RangeOf(const ActivationSpec& spec) {
  const float half = static_cast<float>(1 << (spec.bits - 1));
  return {-half, half - 1};
}

float RoundUpToPowerOfTwo(float scale) { return std::exp2(std::ceil(std::log2(scale))); }

ScaleZero FloatScale(const ActivationSpec& spec, float amax) {
  if (spec.upper_bound > 0) amax = std::min(amax, spec.upper_bound);
  float scale = amax / kE4m3Max;
  if (spec.half_step_range) {
    if (scale == 0) scale = 0x1p-23f;
  } else if (spec.grain == ActivationSpec::kToken) {
    scale = std::max(scale, 1.0f / (kE4m3Max * 512));
  } else {
    scale = std::max(amax, 1e-10f) / kE4m3Max;
  }
  return {spec.pow2_scale ? RoundUpToPowerOfTwo(scale) : scale, 0};
}

ScaleZero IntScale(const ActivationSpec& spec, float low, float high) {
  const CodeRange range = RangeOf(spec);
  const float steps = range.high - range.low;
  if (spec.symmetric) {
    float scale = std::max(std::fabs(low), std::fabs(high)) / (spec.half_step_range ? steps / 2 : range.high);
    if (spec.half_step_range && scale == 0) scale = 0x1p-23f;
    return {spec.pow2_scale && scale > 0 ? RoundUpToPowerOfTwo(scale) : scale, 0};
  }
  if (spec.half_step_range) low = std::min(low, 0.0f), high = std::max(high, 0.0f);
  float scale = (high - low) / steps;
  if (spec.half_step_range && scale == 0) scale = 0x1p-23f;
  if (scale == 0) return {0, 0};
  const float zero = std::nearbyint(range.low - low / scale);
  return {scale, std::clamp(zero, range.low, range.high)};
}

ScaleZero DynamicScale(const ActivationSpec& spec, const float* x, int64_t count) {
  float low = count > 0 ? x[0] : 0, high = low;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (spec.code != DType::kI8) return FloatScale(spec, std::max(std::fabs(low), std::fabs(high)));
  return IntScale(spec, low, high);
}

// Nearest integer, ties to even, of |x| <= 2^22, without a library call.
inline float RoundToEven(float x) {
  constexpr float kAligner = 12582912;  // 1.5 * 2^23: its last bit weighs one
  return x + kAligner - kAligner;
}

inline float IntCode(const ActivationSpec& spec, CodeRange range, ScaleZero by, float x) {
  if (by.scale == 0 || std::isnan(x)) return by.zero;
  if (spec.half_step_range) return RoundToEven(std::clamp(x / by.scale + by.zero, range.low, range.high));
  return std::clamp(RoundToEven(std::clamp(x / by.scale, -0x1p22f, 0x1p22f)) + by.zero, range.low, range.high);
}

// e4m3 codes of x / scale and what they mean, by rows of a stack buffer.
void QuantizeFloats(float scale, const float* x, int64_t count, float* dequantized, int8_t* codes) {
  constexpr int64_t kChunk = 512;
  float scaled[kChunk];
  std::byte bytes[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t size = std::min(kChunk, count - begin);
    for (int64_t i = 0; i < size; ++i) scaled[i] = x[begin + i] / scale;
    ConvertFromF32(DType::kE4M3, scaled, size, bytes);
    if (codes) std::memcpy(codes + begin, bytes, static_cast<size_t>(size));
    if (!dequantized) continue;
    ConvertToF32(DType::kE4M3, bytes, size, scaled);
    for (int64_t i = 0; i < size; ++i) dequantized[begin + i] = scaled[i] * scale;
  }
}

void QuantizeInts(const ActivationSpec& spec, ScaleZero by, const float* x, int64_t count, float* dequantized, int8_t* codes) {
  const CodeRange range = RangeOf(spec);
  for (int64_t i = 0; i < count; ++i) {
    const float code = IntCode(spec, range, by, x[i]);
    if (codes) codes[i] = static_cast<int8_t>(code);
    if (dequantized) dequantized[i] = (code - by.zero) * by.scale;
  }
}

}  // namespace

int64_t ActivationScales(const ActivationSpec& spec, int64_t k) {
  return spec.grain == ActivationSpec::kGroup ? CeilDiv(k, spec.group) : 1;
}

void QuantizeActivationRow(const ActivationSpec& spec, const float* x, int64_t k, float* dequantized, int8_t* codes, float* scales,
                           float* zeros) {
  if (spec.grain == ActivationSpec::kNone) {
    if (dequantized) std::copy_n(x, k, dequantized);
    return;
  }
  NIBBLE_CHECK(spec.code == DType::kI8 || spec.code == DType::kE4M3, "activation codes of {}", DTypeName(spec.code));
  const int64_t group = spec.grain == ActivationSpec::kGroup ? spec.group : k;
  for (int64_t begin = 0, index = 0; begin < k; begin += group, ++index) {
    const int64_t end = std::min(begin + group, k);
    const ScaleZero by = spec.dynamic ? DynamicScale(spec, x + begin, end - begin) : ScaleZero{spec.scale, spec.zero};
    if (scales) scales[index] = by.scale;
    if (zeros) zeros[index] = by.zero;
    float* values = dequantized ? dequantized + begin : nullptr;
    int8_t* group_codes = codes ? codes + begin : nullptr;
    if (spec.code == DType::kI8)
      QuantizeInts(spec, by, x + begin, end - begin, values, group_codes);
    else
      QuantizeFloats(by.scale, x + begin, end - begin, values, group_codes);
  }
}

ActivationSpec FixTensorScale(const ActivationSpec& spec, const float* x, int64_t count) {
  if (spec.grain != ActivationSpec::kTensor || !spec.dynamic) return spec;
  const ScaleZero by = DynamicScale(spec, x, count);
  ActivationSpec fixed = spec;
  fixed.dynamic = false;
  fixed.scale = by.scale;
  fixed.zero = by.zero;
  return fixed;
}

}  // namespace nibble
