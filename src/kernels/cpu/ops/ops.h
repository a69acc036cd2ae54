// SPDX-License-Identifier: Apache-2.0
// The operations between the matrix products, one table per instruction set, all equal bit for bit (same lane order, same
// polynomial for exp, explicit fused multiply-adds). Functions work on one row or one head: the executor divides the rows among
// workers.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "tensors/dtype.h"

namespace nibble {

enum class Activation : uint8_t { kSilu, kGeluTanh, kGeluErf, kGeluQuick, kRelu, kRelu2, kSigmoid };

struct CpuOps {
  // y = x / sqrt(mean(x^2) + eps) * (offset + w). In place allowed.
  void (*rms_norm)(const float* x, const float* w, float offset, float eps, int64_t width, float* y);
  // y = (x - mean) / sqrt(var + eps) * (offset + w) + b; w, b may be null.
  void (*layer_norm)(const float* x, const float* w, const float* b, float offset, float eps, int64_t width, float* y);
  // x[i] += scale * y[i]
  void (*add)(float* x, const float* y, float scale, int64_t width);
  // Rotates the first 2 * half elements of a head: pairs (i, half + i), or (2i, 2i + 1) when interleaved. cos, sin [half].
  void (*rope)(float* head, const float* cos, const float* sin, int64_t half, bool interleaved);
  // out[i] = act(gate[i]) * up[i]
  void (*gated)(Activation act, const float* gate, const float* up, int64_t width, float* out);
  // gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit); out = (u + 1) * g * sigmoid(alpha * g)
  void (*gated_clamped)(const float* gate, const float* up, float alpha, float limit, int64_t width, float* out);
  // f32 -> cache dtype (f32, f16, bf16), zero padded from width to stride.
  void (*store)(DType dtype, const float* x, int64_t width, int64_t stride, void* out);
  // In place; numbers are p = exp(x - max) / sum.
  void (*softmax)(float* x, int64_t width);
  // log(sum(exp(x))); blocks of 256 are added in f64.
  double (*log_sum_exp)(const float* x, int64_t width);
  // sum_i p_i (log p_i - log q_i), log p = a - lse_a, log q = b - lse_b.
  double (*kl_divergence)(const float* a, double lse_a, const float* b, double lse_b, int64_t width);
  // x as integers of `bits` bits in records of 32 columns (kernels/x_codes.h), record i at out + i * stride; wide: codes take two
  // bytes. scale = max(|x|, 1e-10) / (2^(bits-1) - 1), codes to nearest even.
  void (*quantize_groups)(const float* x, int64_t width, int bits, bool wide, void* out, int64_t stride);
};

// The best table for the machine's instruction set.
const CpuOps& OpsFor(Isa isa);

const CpuOps& OpsScalar();
const CpuOps& OpsAvx2();
const CpuOps& OpsAvx512();

}  // namespace nibble
