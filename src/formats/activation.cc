// SPDX-License-Identifier: Apache-2.0
// Two questions for each group of x: which scale (ScaleOf*), and which codes under it (QuantizeFloats, QuantizeInts). The first is
// where tools differ; activation.md has the rules side by side.
#include "formats/activation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/math.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

using Spec = ActivationSpec;

// codes = x / scale, or x * factor where the tool multiplies by a reciprocal of its own; values = (code - zero) * scale.
struct Step {
  float scale = 1, zero = 0;
  float factor = 0;
  bool multiplies = false;
};
Step Divide(float scale, float zero = 0) { return {.scale = scale, .zero = zero}; }
Step Multiply(float factor, float scale, float zero = 0) {
  return {.scale = scale, .zero = zero, .factor = factor, .multiplies = true};
}

constexpr float kEpsilon = 0x1p-23f;  // what torch.finfo(float32).eps stands for a zero scale

// A small float: `mantissa` bits, numbers from `max` down to steps of 2^(low - mantissa); 2^emax <= max.
struct Element {
  int mantissa, low, emax;
  float max;
};
Element ElementOf(DType code) {
  switch (code) {
    case DType::kE4M3: return {3, -6, 8, 448};
    case DType::kE5M2: return {2, -14, 15, 57344};
    case DType::kE3M2: return {2, -2, 4, 28};
    case DType::kE2M3: return {3, 0, 2, 7.5f};
    default: return {1, 0, 2, 6};
  }
}

// Nearest number of the format, saturating; NaN stays.
inline float RoundToElement(const Element& element, float x) {
  const float size = std::min(std::fabs(x), element.max);
  const uint32_t exponent = std::max(std::bit_cast<uint32_t>(size) >> 23, static_cast<uint32_t>(127 + element.low));
  // A number whose last bit weighs one step of this binade.
  const float aligner = std::bit_cast<float>((exponent + 23 - static_cast<uint32_t>(element.mantissa)) << 23) * 1.5f;
  return std::copysign(size + aligner - aligner, x);
}

// ---- scales ------------------------------------------------------------------------------------------------------------------

float Pow2(int exponent) { return std::ldexp(1.0f, std::clamp(exponent, -127, 127)); }
int FloorLog2(float x) { return std::ilogb(x); }  // exact; x > 0
int CeilLog2(float x) {
  int exponent;
  return std::frexp(x, &exponent) == 0.5f ? exponent - 1 : exponent;
}

// The exponents of tools that call log2 in f32, where a number just below a power of two gives the whole logarithm.
bool UsesLog2(const Spec& spec) {
  if (spec.rule == Spec::kTorchao) return spec.scale_code == Spec::kPow2Up;
  return spec.rule != Spec::kModelOpt && spec.rule != Spec::kCompressedTensors;
}

// amax rounded to `mantissa` bits, then cut to its binade.
int EvenLog2(float amax, int mantissa) {
  return FloorLog2(std::bit_cast<float>((std::bit_cast<uint32_t>(amax) + (1u << (22 - mantissa))) & 0x7f800000u));
}

// `mantissa`, `emax`, `max` of the code, whatever its kind. amax > 0, finite.
float Pow2Scale(const Spec& spec, float amax, const Element& element) {
  const bool log2 = UsesLog2(spec);
  switch (spec.scale_code) {
    case Spec::kPow2Up: {
      const float ratio = amax / element.max;
      return Pow2(log2 ? static_cast<int>(std::ceil(std::log2(ratio))) : CeilLog2(ratio));
    }
    case Spec::kPow2Floor: return Pow2((log2 ? static_cast<int>(std::floor(std::log2(amax))) : FloorLog2(amax)) - element.emax);
    case Spec::kPow2Ceil: return Pow2((log2 ? static_cast<int>(std::ceil(std::log2(amax))) : CeilLog2(amax)) - element.emax);
    default: {
      // compressed-tensors rounds amax to e2m1's one bit for e4m3 codes too.
      const bool one_bit = spec.rule == Spec::kCompressedTensors && spec.code == DType::kE4M3;
      return Pow2(EvenLog2(amax, one_bit ? 1 : element.mantissa) - element.emax);
    }
  }
}

float RoundToE4M3(float x) { return DecodeSmallFloat(DType::kE4M3, EncodeSmallFloat(DType::kE4M3, x)); }

// NVFP4: amax / max as an e4m3 number of units of the global scale.
Step TwoLevelScale(const Spec& spec, float amax, float max) {
  const float global = spec.global;
  switch (spec.rule) {
    case Spec::kCompressedTensors: {
      const float local = RoundToE4M3(global * (amax / max));
      return Divide((local == 0 ? 0.125f : local) / global);
    }
    case Spec::kModelOpt: {
      const float scale = RoundToE4M3(std::min(amax / (max * global), 448.0f)) * global;
      return Divide(scale >= 1e-5f ? scale : 1);
    }
    case Spec::kQuark: {
      const float first = amax == 0 ? kEpsilon : amax / max, scale = RoundToE4M3(first / global) * global;
      return Divide(scale == 0 ? kEpsilon : scale);
    }
    case Spec::kTorchao: {
      const float local = RoundToE4M3(std::clamp(amax / max / global, 0x1p-6f, 448.0f));
      return Multiply(1 / global / local, local * global);
    }
    default: {  // reciprocals throughout, as the kernels of engines have them
      const float local = RoundToE4M3(global * (amax * (1 / max)));
      const float factor = local == 0 ? 0 : 1 / (local * (1 / global));
      return Multiply(factor, factor == 0 ? 0 : 1 / factor);
    }
  }
}

// amax / max as an unsigned number of 5 exponent and 3 mantissa bits, bias 15.
Step E5m3Scale(float amax, float max) {
  constexpr Element kE5m3{3, -14, 16, 114688};
  const float scale = RoundToElement(kE5m3, amax / max);
  return Divide(scale == 0 ? kEpsilon : scale);
}

Step FloatScale(const Spec& spec, float amax) {
  const Element element = ElementOf(spec.code);
  if (spec.upper_bound > 0) amax = std::min(amax, spec.upper_bound);
  if (spec.scale_code == Spec::kE4M3) return TwoLevelScale(spec, amax, element.max);
  if (spec.scale_code == Spec::kE5M3) return E5m3Scale(amax, element.max);
  const bool pow2 = spec.scale_code != Spec::kFloat;
  if (spec.rule == Spec::kEngine) {
    if (spec.grain != Spec::kToken) amax = std::max(amax, 1e-10f);
    if (pow2 && amax > 0) return Divide(Pow2Scale(spec, amax, element));
    const float scale = amax / element.max;
    return Divide(spec.grain == Spec::kToken ? std::max(scale, 1.0f / (element.max * 512)) : scale);
  }
  if (pow2) return Divide(amax > 0 && std::isfinite(amax) ? Pow2Scale(spec, amax, element) : 1);
  if (spec.rule == Spec::kModelOpt) {
    const float factor = element.max / (amax <= 0x1p-24f ? 1 : amax);
    return Multiply(factor, 1 / factor);
  }
  return Divide(amax == 0 ? kEpsilon : amax / element.max);
}

struct CodeRange {
  float low, high;
};
CodeRange RangeOf(const Spec& spec) {
  const float half = static_cast<float>(1 << (spec.bits - 1));
  return {spec.scale_code == Spec::kFloat ? -half : 1 - half, half - 1};  // MX integers are symmetric
}

Step SymmetricScale(const Spec& spec, float amax, CodeRange range) {
  if (spec.scale_code != Spec::kFloat) {
    // MX integers: 2^emax <= amax in steps of 2^-(bits - 2).
    const Element element{spec.bits - 2, 0, spec.bits - 2, range.high};
    return Divide(amax > 0 && std::isfinite(amax) ? Pow2Scale(spec, amax, element) : 1);
  }
  switch (spec.rule) {
    case Spec::kCompressedTensors: return Divide(amax == 0 ? kEpsilon : amax / ((range.high - range.low) / 2));
    case Spec::kQuark: {
      const float scale = std::max(amax / ((range.high - range.low) / 2), kEpsilon);
      return Multiply(1 / scale, scale);
    }
    case Spec::kModelOpt: return amax <= 0x1p-24f ? Multiply(0, 0) : Multiply(range.high / amax, amax / range.high);
    default: break;
  }
  if (spec.grain == Spec::kGroup) return Divide(std::max(amax, 1e-10f) / range.high);
  return amax == 0 ? Multiply(0, 0) : Multiply(range.high / amax, amax / range.high);
}

Step IntScale(const Spec& spec, float low, float high) {
  const CodeRange range = RangeOf(spec);
  if (spec.symmetric) {
    float amax = std::max(std::fabs(low), std::fabs(high));
    if (spec.upper_bound > 0) amax = std::min(amax, spec.upper_bound);
    return SymmetricScale(spec, amax, range);
  }
  const bool holds_zero = spec.rule == Spec::kCompressedTensors || spec.rule == Spec::kQuark;
  if (holds_zero) low = std::min(low, 0.0f), high = std::max(high, 0.0f);
  float scale = (high - low) / (range.high - range.low);
  if (spec.rule == Spec::kQuark) {
    scale = std::max(scale, kEpsilon);
    return Multiply(1 / scale, scale, std::clamp(range.low - std::nearbyint(low / scale), range.low, range.high));
  }
  if (holds_zero && scale == 0) scale = kEpsilon;
  if (scale == 0) return Multiply(0, 0);
  return Divide(scale, std::clamp(std::nearbyint(range.low - low / scale), range.low, range.high));
}

// FP-Quant's powers of two for groups of e2m1 codes; a group of zeros has scale 1.
Step FpQuantScale(const Spec& spec, float amax, const float* x, int64_t count) {
  if (!(amax > 0) || !std::isfinite(amax)) return Divide(1);
  if (spec.scale_code == Spec::kPow2Thirds) return Divide(Pow2(static_cast<int>(std::floor(std::log2(amax)))) / 3.0f);
  float sum = 0, squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += x[i];
    squares += x[i] * x[i];
  }
  const float n = static_cast<float>(count), mean = sum / n;
  const float deviation = std::sqrt(std::max(squares / n - mean * mean, 0.0f));
  return Divide(Pow2(static_cast<int>(std::floor(std::log2(2.92247856f / 6.0f * deviation + 1e-8f)))));
}

Step DynamicScale(const Spec& spec, const float* x, int64_t count) {
  float low = count > 0 ? x[0] : 0, high = low;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (spec.scale_code == Spec::kPow2Thirds || spec.scale_code == Spec::kPow2Deviation)
    return FpQuantScale(spec, std::max(std::fabs(low), std::fabs(high)), x, count);
  if (spec.code != DType::kI8) return FloatScale(spec, std::max(std::fabs(low), std::fabs(high)));
  return IntScale(spec, low, high);
}

// A stored scale: engines, Quark's integers and ModelOpt multiply by its reciprocal.
Step StaticScale(const Spec& spec) {
  const bool integers = spec.code == DType::kI8;
  switch (spec.rule) {
    case Spec::kCompressedTensors: return Divide(spec.scale, spec.zero);
    case Spec::kQuark: return integers ? Multiply(1 / spec.scale, spec.scale, spec.zero) : Divide(spec.scale);
    case Spec::kModelOpt: {  // keeps amax and makes the factor anew
      const float max = integers ? RangeOf(spec).high : ElementOf(spec.code).max, factor = max / (spec.scale * max);
      return Multiply(factor, 1 / factor);
    }
    default: return integers && spec.symmetric ? Divide(spec.scale) : Multiply(1 / spec.scale, spec.scale, spec.zero);
  }
}

// ---- codes -------------------------------------------------------------------------------------------------------------------

// Nearest integer, ties to even, of |x| <= 2^22, without a library call.
inline float RoundToEven(float x) {
  constexpr float kAligner = 12582912;  // 1.5 * 2^23: its last bit weighs one
  return x + kAligner - kAligner;
}

void QuantizeFloats(const Spec& spec, Step step, const float* x, int64_t count, float* dequantized, int8_t* codes) {
  const Element element = ElementOf(spec.code);
  for (int64_t i = 0; i < count; ++i) {
    const float value = std::isnan(x[i]) ? x[i] : RoundToElement(element, step.multiplies ? x[i] * step.factor : x[i] / step.scale);
    if (codes) codes[i] = static_cast<int8_t>(EncodeSmallFloat(spec.code, value));
    if (dequantized) dequantized[i] = value * step.scale;
  }
}

inline float IntCode(const Spec& spec, CodeRange range, Step step, float x) {
  if (std::isnan(x)) return step.zero;
  const float scaled = step.multiplies ? x * step.factor : x / step.scale;
  if (spec.rule == Spec::kCompressedTensors) return RoundToEven(std::clamp(scaled + step.zero, range.low, range.high));
  return std::clamp(RoundToEven(std::clamp(scaled, -0x1p22f, 0x1p22f)) + step.zero, range.low, range.high);
}

void QuantizeInts(const Spec& spec, Step step, const float* x, int64_t count, float* dequantized, int8_t* codes) {
  const CodeRange range = RangeOf(spec);
  for (int64_t i = 0; i < count; ++i) {
    const float code = IntCode(spec, range, step, x[i]);
    if (codes) codes[i] = static_cast<int8_t>(code);
    if (dequantized) dequantized[i] = (code - step.zero) * step.scale;
  }
}

// A spec with the global scale that x asks for, where that is dynamic.
Spec WithGlobal(const Spec& spec, const float* x, int64_t count) {
  if (spec.scale_code != Spec::kE4M3 || spec.global != 0) return spec;
  float amax = 0;
  for (int64_t i = 0; i < count; ++i) amax = std::max(amax, std::fabs(x[i]));
  Spec fixed = spec;
  fixed.global = amax > 0 ? amax / (448 * 6) : 1;
  return fixed;
}

bool IsFloatCode(DType code) {
  return code == DType::kE4M3 || code == DType::kE5M2 || code == DType::kE3M2 || code == DType::kE2M3 || code == DType::kE2M1;
}

// bitsandbytes: codes rne(x * (127 / amax)) of the small elements; outliers stay as they are, not even rounded to f16. Its constant
// for 1 / 127^2 is 6.200124e-05, 2e-5 too large.
void QuantizeWithOutliers(const Spec& spec, const float* x, int64_t k, float* dequantized, int8_t* codes, float* scales) {
  constexpr float kStep = 127 * 6.200124e-05f;
  const auto rounded = [&](int64_t i) { return F16ToF32(F32ToF16(x[i])); };
  float amax = 0;
  for (int64_t i = 0; i < k; ++i) {
    const float magnitude = std::fabs(rounded(i));
    if (magnitude < spec.outlier_threshold) amax = std::max(amax, magnitude);
  }
  const float inverse = amax > 0 ? 127 / amax : 0, scale = amax * kStep;
  if (scales) scales[0] = scale;
  for (int64_t i = 0; i < k; ++i) {
    const float value = rounded(i);
    const bool outlier = std::fabs(value) >= spec.outlier_threshold;
    const float code = outlier || std::isnan(value) ? 0 : RoundToEven(value * inverse);
    if (codes) codes[i] = static_cast<int8_t>(code);
    if (dequantized) dequantized[i] = outlier ? x[i] : code * scale;
  }
}

}  // namespace

bool IsRunnable(const ActivationSpec& spec) {
  if (spec.grain == Spec::kNone) return true;
  if (spec.code != DType::kI8 && (!IsFloatCode(spec.code) || !spec.symmetric)) return false;
  if (spec.code == DType::kI8 && (spec.scale_code == Spec::kE4M3 || spec.scale_code == Spec::kE5M3)) return false;
  if (spec.bits < 2 || spec.bits > 8 || (spec.grain == Spec::kGroup && spec.group < 1)) return false;
  if (!spec.dynamic) return spec.grain == Spec::kTensor && std::isfinite(spec.scale) && spec.scale > 0;
  if (spec.scale_code != Spec::kE4M3) return true;
  return std::isfinite(spec.global) && (spec.global > 0 || (spec.global == 0 && spec.rule == Spec::kTorchao));
}

int64_t ActivationScales(const ActivationSpec& spec, int64_t k) { return spec.grain == Spec::kGroup ? CeilDiv(k, spec.group) : 1; }

void QuantizeActivationRow(const ActivationSpec& spec, const float* x, int64_t k, float* dequantized, int8_t* codes, float* scales,
                           float* zeros) {
  if (spec.grain == Spec::kNone) {
    if (dequantized) std::copy_n(x, k, dequantized);
    return;
  }
  if (spec.outlier_threshold > 0) return QuantizeWithOutliers(spec, x, k, dequantized, codes, scales);
  NIBBLE_CHECK(spec.code == DType::kI8 || IsFloatCode(spec.code), "activation codes of {}", DTypeName(spec.code));
  if (spec.scale_code == Spec::kE4M3 && spec.global == 0)
    return QuantizeActivationRow(WithGlobal(spec, x, k), x, k, dequantized, codes, scales, zeros);
  const int64_t group = spec.grain == Spec::kGroup ? spec.group : k;
  for (int64_t begin = 0, index = 0; begin < k; begin += group, ++index) {
    const int64_t end = std::min(begin + group, k);
    const Step step = spec.dynamic ? DynamicScale(spec, x + begin, end - begin) : StaticScale(spec);
    if (scales) scales[index] = step.scale;
    if (zeros) zeros[index] = step.zero;
    const auto quantize = spec.code == DType::kI8 ? QuantizeInts : QuantizeFloats;
    quantize(spec, step, x + begin, end - begin, dequantized ? dequantized + begin : nullptr, codes ? codes + begin : nullptr);
  }
}

ActivationSpec FixTensorScale(const ActivationSpec& spec, const float* x, int64_t count) {
  if (spec.scale_code == Spec::kE4M3) return WithGlobal(spec, x, count);
  if (spec.grain != Spec::kTensor || !spec.dynamic) return spec;
  const Step step = DynamicScale(spec, x, count);
  ActivationSpec fixed = spec;
  fixed.dynamic = false;
  fixed.scale = step.scale;
  fixed.zero = step.zero;
  return fixed;
}

}  // namespace nibble
