// SPDX-License-Identifier: Apache-2.0
// The operations of ops.h, written once on F32x16; an ISA file includes its vec_*.h first. Tails shorter than 16 go through a
// padded copy, so that every element sees the same arithmetic.
#pragma once

#include "kernels/cpu/ops/ops.h"

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
template <typename F>
inline void ForParts(int64_t width, const F& f) {
  for (int64_t i = 0; i < width; i += kLanes) f(i, width - i < kLanes ? width - i : kLanes);
}

// exp: x = n ln2 + r, |r| <= ln2 / 2, then a degree-6 Taylor-like minimax polynomial in r; relative error below 2e-7. Results below
// 2^-126 become 0, above f32's range infinity.
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

inline float SqrtF(float x) { return __builtin_sqrtf(x); }

void RmsNorm(const float* x, const float* w, float offset, float eps, int64_t width, float* y) {
  F32x16 squares = F32x16::Zero();
  ForParts(width, [&](int64_t i, int64_t count) {
    const F32x16 v = LoadPart(x + i, count);
    squares = F32x16::Fma(v, v, squares);
  });
  const F32x16 scale = F32x16::Set(1.0f / SqrtF(squares.Sum() / static_cast<float>(width) + eps));
  ForParts(width, [&](int64_t i, int64_t count) {
    F32x16 v = LoadPart(x + i, count) * scale;
    if (w) v = v * (LoadPart(w + i, count) + F32x16::Set(offset));
    StorePart(v, y + i, count);
  });
}

void LayerNorm(const float* x, const float* w, const float* b, float offset, float eps, int64_t width, float* y) {
  F32x16 sum = F32x16::Zero();
  ForParts(width, [&](int64_t i, int64_t count) { sum = sum + LoadPart(x + i, count); });
  const float mean = sum.Sum() / static_cast<float>(width);
  F32x16 squares = F32x16::Zero();
  ForParts(width, [&](int64_t i, int64_t count) {
    const F32x16 d = LoadPart(x + i, count, mean) - F32x16::Set(mean);
    squares = F32x16::Fma(d, d, squares);
  });
  const F32x16 scale = F32x16::Set(1.0f / SqrtF(squares.Sum() / static_cast<float>(width) + eps));
  ForParts(width, [&](int64_t i, int64_t count) {
    F32x16 v = (LoadPart(x + i, count) - F32x16::Set(mean)) * scale;
    if (w) v = v * (offset == 0 ? LoadPart(w + i, count) : LoadPart(w + i, count) + F32x16::Set(offset));
    if (b) v = v + LoadPart(b + i, count);
    StorePart(v, y + i, count);
  });
}

void Add(float* x, const float* y, float scale, int64_t width) {
  const F32x16 factor = F32x16::Set(scale);
  ForParts(width, [&](int64_t i, int64_t count) {
    const F32x16 v = LoadPart(y + i, count);
    StorePart(LoadPart(x + i, count) + (scale == 1.0f ? v : v * factor), x + i, count);
  });
}

void Rope(float* head, const float* cos, const float* sin, int64_t half, bool interleaved) {
  for (int64_t i = 0; i < half; ++i) {
    float* a = head + (interleaved ? 2 * i : i);
    float* b = head + (interleaved ? 2 * i + 1 : half + i);
    const float x = *a, y = *b;
    *a = x * cos[i] - y * sin[i];
    *b = y * cos[i] + x * sin[i];
  }
}

inline F32x16 Activate(Activation act, F32x16 x) {
  const F32x16 half = F32x16::Set(0.5f), one = F32x16::Set(1.0f);
  switch (act) {
    case Activation::kSilu: return x * Sigmoid(x);
    case Activation::kGeluTanh: {
      const F32x16 inner = F32x16::Set(0.7978845608028654f) * F32x16::Fma(F32x16::Set(0.044715f) * x * x, x, x);
      return half * x * (one + Tanh(inner));
    }
    case Activation::kGeluErf: return half * x * (one + Erf(x * F32x16::Set(0.7071067811865476f)));
    case Activation::kGeluQuick: return x * Sigmoid(F32x16::Set(1.702f) * x);
    case Activation::kSigmoid: return Sigmoid(x);
    case Activation::kRelu: return F32x16::Max(x, F32x16::Zero());
    case Activation::kRelu2: {
      const F32x16 r = F32x16::Max(x, F32x16::Zero());
      return r * r;
    }
  }
  return x;
}

void Gated(Activation act, const float* gate, const float* up, int64_t width, float* out) {
  ForParts(width, [&](int64_t i, int64_t count) {
    const F32x16 v = Activate(act, LoadPart(gate + i, count));
    StorePart(up ? v * LoadPart(up + i, count) : v, out + i, count);
  });
}

void GatedClamped(const float* gate, const float* up, float alpha, float limit, int64_t width, float* out) {
  const F32x16 high = F32x16::Set(limit), low = F32x16::Set(-limit), one = F32x16::Set(1.0f);
  ForParts(width, [&](int64_t i, int64_t count) {
    const F32x16 g = F32x16::Min(LoadPart(gate + i, count), high);
    const F32x16 u = F32x16::Max(F32x16::Min(LoadPart(up + i, count), high), low);
    StorePart((u + one) * (g * Sigmoid(F32x16::Set(alpha) * g)), out + i, count);
  });
}

void SoftmaxBesideSink(float* x, int64_t width, const float* sink) {
  F32x16 top = F32x16::Set(sink ? *sink : -__builtin_inff());
  ForParts(width, [&](int64_t i, int64_t count) { top = F32x16::Max(LoadPart(x + i, count, -__builtin_inff()), top); });
  const F32x16 max = F32x16::Set(top.HorizontalMax());
  F32x16 sum = F32x16::Zero();
  ForParts(width, [&](int64_t i, int64_t count) {
    float padded[kLanes];
    Exp(LoadPart(x + i, count) - max).Store(padded);
    for (int64_t j = count; j < kLanes; ++j) padded[j] = 0;
    const F32x16 e = F32x16::Load(padded);
    sum = sum + e;
    StorePart(e, x + i, count);
  });
  float total = sum.Sum();
  if (sink) {
    float lanes[kLanes];
    Exp(F32x16::Set(*sink) - max).Store(lanes);
    total += lanes[0];
  }
  const F32x16 scale = F32x16::Set(1.0f / total);
  ForParts(width, [&](int64_t i, int64_t count) { StorePart(LoadPart(x + i, count) * scale, x + i, count); });
}
void Softmax(float* x, int64_t width) { SoftmaxBesideSink(x, width, nullptr); }

double LogSumExp(const float* x, int64_t width) {
  F32x16 top = F32x16::Set(-__builtin_inff());
  ForParts(width, [&](int64_t i, int64_t count) { top = F32x16::Max(LoadPart(x + i, count, -__builtin_inff()), top); });
  const float max = top.HorizontalMax();
  double total = 0;
  for (int64_t begin = 0; begin < width; begin += 256) {
    F32x16 sum = F32x16::Zero();
    ForParts(width - begin < 256 ? width - begin : 256, [&](int64_t i, int64_t count) {
      // Lanes past the end are far below the maximum and add exp(-87), nothing in f64.
      sum = sum + Exp(LoadPart(x + begin + i, count, max - 1e30f) - F32x16::Set(max));
    });
    total += static_cast<double>(sum.Sum());
  }
  return static_cast<double>(max) + __builtin_log(total);
}

double KlDivergence(const float* a, double lse_a, const float* b, double lse_b, int64_t width) {
  const F32x16 shift_a = F32x16::Set(static_cast<float>(lse_a)), shift_b = F32x16::Set(static_cast<float>(lse_b));
  double total = 0;
  for (int64_t begin = 0; begin < width; begin += 256) {
    F32x16 sum = F32x16::Zero();
    ForParts(width - begin < 256 ? width - begin : 256, [&](int64_t i, int64_t count) {
      const F32x16 log_p = LoadPart(a + begin + i, count, -1e4f) - shift_a, log_q = LoadPart(b + begin + i, count, -1e4f) - shift_b;
      sum = F32x16::Fma(Exp(log_p), log_p - log_q, sum);
    });
    total += static_cast<double>(sum.Sum());
  }
  return total;
}

template <DType dtype>
inline F32x16 LoadCache(const void* row, int64_t i) {
  if constexpr (dtype == DType::kF32) return F32x16::Load(static_cast<const float*>(row) + i);
  if constexpr (dtype == DType::kF16) return F32x16::LoadF16(static_cast<const char*>(row) + 2 * i);
  if constexpr (dtype == DType::kE4M3) {
    // The code's bits moved into f16 are its value times 2^-8, exact for subnormals too; saturated codes are never NaN.
    alignas(32) uint16_t half[kLanes];
    const uint8_t* codes = static_cast<const uint8_t*>(row) + i;
    for (int64_t j = 0; j < kLanes; ++j) half[j] = static_cast<uint16_t>(((codes[j] & 0x80) << 8) | ((codes[j] & 0x7f) << 7));
    return F32x16::LoadF16(half) * F32x16::Set(256.0f);
  }
  return F32x16::LoadBf16(static_cast<const char*>(row) + 2 * i);
}

// Calls f(index, k row, v row) for the attended tokens in order.
template <typename F>
inline void ForTokens(const AttentionHead& h, int element_bytes, const F& f) {
  int64_t index = 0, skip = h.skip;
  for (int64_t run = 0; run < h.run_count && index < h.tokens; ++run) {
    const char* k = static_cast<const char*>(h.runs[run].k);
    const char* v = static_cast<const char*>(h.runs[run].v);
    for (int64_t t = skip; t < h.runs[run].tokens && index < h.tokens; ++t, ++index)
      f(index, k + t * h.k_stride * element_bytes, v + t * h.v_stride * element_bytes);
    skip = 0;
  }
}

template <DType dtype>
void AttendIn(const AttentionHead& h) {
  constexpr int bytes = dtype == DType::kF32 ? 4 : dtype == DType::kE4M3 ? 1 : 2;
  ForTokens(h, bytes, [&](int64_t t, const char* k, const char*) {
    F32x16 sum = F32x16::Zero();
    for (int64_t i = 0; i < h.k_stride; i += kLanes) sum = F32x16::Fma(F32x16::Load(h.q + i), LoadCache<dtype>(k, i), sum);
    h.scores[t] = sum.Sum() * (h.scale * h.k_scale);
  });
  if (h.softcap > 0) {
    const F32x16 cap = F32x16::Set(h.softcap);
    ForParts(h.tokens,
             [&](int64_t i, int64_t count) { StorePart(cap * Tanh(LoadPart(h.scores + i, count) / cap), h.scores + i, count); });
  }
  if (h.slope != 0)
    for (int64_t t = 0; t < h.tokens; ++t) h.scores[t] += h.slope * static_cast<float>(t - (h.tokens - 1));
  SoftmaxBesideSink(h.scores, h.tokens, h.sink);
  // Blocks of 64 output elements keep their sums in registers over all tokens.
  for (int64_t begin = 0; begin < h.v_stride; begin += 4 * kLanes) {
    F32x16 sum[4] = {F32x16::Zero(), F32x16::Zero(), F32x16::Zero(), F32x16::Zero()};
    const int64_t vectors = (h.v_stride - begin) / kLanes < 4 ? (h.v_stride - begin) / kLanes : 4;
    ForTokens(h, bytes, [&](int64_t t, const char*, const char* v) {
      const F32x16 p = F32x16::Set(h.scores[t]);
      for (int64_t i = 0; i < vectors; ++i) sum[i] = F32x16::Fma(p, LoadCache<dtype>(v, begin + i * kLanes), sum[i]);
    });
    for (int64_t i = 0; i < vectors; ++i) {
      const int64_t at = begin + i * kLanes;
      if (at < h.v_dim)
        StorePart(h.v_scale == 1 ? sum[i] : sum[i] * F32x16::Set(h.v_scale), h.out + at,
                  h.v_dim - at < kLanes ? h.v_dim - at : kLanes);
    }
  }
}

void Attend(const AttentionHead& h) {
  switch (h.dtype) {
    case DType::kF16: return AttendIn<DType::kF16>(h);
    case DType::kBF16: return AttendIn<DType::kBF16>(h);
    case DType::kE4M3: return AttendIn<DType::kE4M3>(h);
    default: return AttendIn<DType::kF32>(h);
  }
}

void Store(DType dtype, const float* x, int64_t width, int64_t stride, void* out) {
  for (int64_t i = 0; i < stride; i += kLanes) {
    const int64_t count = width - i < kLanes ? (width - i < 0 ? 0 : width - i) : kLanes;
    const F32x16 v = LoadPart(x + i, count);
    switch (dtype) {
      case DType::kF16: v.StoreF16(static_cast<char*>(out) + 2 * i); break;
      case DType::kBF16: v.StoreBf16(static_cast<char*>(out) + 2 * i); break;
      default: v.Store(static_cast<float*>(out) + i); break;
    }
  }
}

const CpuOps kOps = {RmsNorm, LayerNorm, Add, Rope, Gated, GatedClamped, Attend, Store, Softmax, LogSumExp, KlDivergence};

}  // namespace
}  // namespace nibble
