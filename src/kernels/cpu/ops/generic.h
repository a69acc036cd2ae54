// SPDX-License-Identifier: Apache-2.0
// The operations of ops.h, written once on F32x16; an ISA file includes its vec_*.h first. Tails shorter than 16 go through a
// padded copy, so that every element sees the same arithmetic.
#pragma once

#include "kernels/cpu/ops/ops.h"
#include "kernels/cpu/vec_math.h"
#include "kernels/x_codes.h"

namespace nibble {
namespace {

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

void Softmax(float* x, int64_t width) {
  F32x16 top = F32x16::Set(-__builtin_inff());
  ForParts(width, [&](int64_t i, int64_t count) { top = F32x16::Max(LoadPart(x + i, count, -__builtin_inff()), top); });
  const F32x16 max = F32x16::Set(top.HorizontalMax());
  F32x16 sum = F32x16::Zero();
  ForParts(width, [&](int64_t i, int64_t count) {
    const F32x16 e = LanesOr(Exp(LoadPart(x + i, count) - max), count, 0);
    sum = sum + e;
    StorePart(e, x + i, count);
  });
  const F32x16 scale = F32x16::Set(1.0f / sum.Sum());
  ForParts(width, [&](int64_t i, int64_t count) { StorePart(LoadPart(x + i, count) * scale, x + i, count); });
}

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

// 1 for columns 4 i and 4 i + 1.
constexpr float kFirstPairs[16] = {1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0};

void QuantizeGroups(const float* x, int64_t width, int bits, bool wide, void* out, int64_t stride) {
  constexpr int64_t kGroup = 2 * kLanes;
  const float top = static_cast<float>((1 << (bits - 1)) - 1);
  auto* record = static_cast<char*>(out);
  for (int64_t i = 0; i < width; i += kGroup, record += stride) {
    F32x16 v[2];
    F32x16 amax = F32x16::Set(1e-10f);
    for (int h = 0; h < 2; ++h) {
      const int64_t left = width - i - h * kLanes;
      v[h] = left <= 0 ? F32x16::Zero() : LoadPart(x + i + h * kLanes, left < kLanes ? left : kLanes);
      amax = F32x16::Max(F32x16::Max(v[h], F32x16::Zero() - v[h]), amax);
    }
    XHeader header;
    header.scale = amax.HorizontalMax() / top;
    for (int h = 0; h < 2; ++h) {
      // A NaN becomes the lowest code: Max gives its second operand.
      const F32x16 scaled = F32x16::Round(v[h] / F32x16::Set(header.scale));
      const F32x16 code = F32x16::Min(F32x16::Max(scaled, F32x16::Set(-top)), F32x16::Set(top));
      char* codes = record + kXHeaderBytes + kLanes * (wide ? 2 : 1) * h;
      wide ? code.StoreI16Quads(codes) : code.StoreI8(codes);
      // Sums of codes are exact in f32.
      const F32x16 first = F32x16::Load(kFirstPairs);
      const float sum = code.Sum(), pair = wide ? 0 : (code * first).Sum();
      header.sum[1 + h] = static_cast<int32_t>(sum);
      header.pair[1 + h][0] = static_cast<int16_t>(pair);
      header.pair[1 + h][1] = wide ? int16_t{0} : static_cast<int16_t>(sum - pair);
      header.half[h] = wide ? int16_t{0} : static_cast<int16_t>(sum);
    }
    header.sum[0] = header.sum[1] + header.sum[2];
    for (int p = 0; p < 2; ++p) header.pair[0][p] = static_cast<int16_t>(header.pair[1][p] + header.pair[2][p]);
    __builtin_memcpy(record, &header, sizeof header);
  }
}

const CpuOps kOps = {RmsNorm, LayerNorm, Add, Rope, Gated, GatedClamped, Store, Softmax, LogSumExp, KlDivergence, QuantizeGroups};

}  // namespace
}  // namespace nibble
