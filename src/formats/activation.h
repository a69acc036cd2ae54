// SPDX-License-Identifier: Apache-2.0
// What a checkpoint method demands of the activations x before the product (after the `in` transforms of the weight): W8A8, FP8,
// W4A8 ... A spec of grain kNone means that x stays as it is.
#pragma once

#include <cstdint>

#include "tensors/dtype.h"

namespace nibble {

struct ActivationSpec {
  enum Grain : uint8_t {
    kNone,
    kTensor,  // one scale for the whole x; dynamic: over all rows
    kToken,   // one scale a row
    kGroup,   // one scale for each `group` columns of a row
  } grain = kNone;
  DType code = DType::kNone;  // kI8 or kE4M3
  int bits = 8;               // integers narrower than their code: 4 for int4 activations
  int group = 0;              // kGroup: columns of a group
  bool dynamic = true;        // false: `scale` and `zero` below
  bool symmetric = true;
  bool pow2_scale = false;  // dynamic scales are rounded up to a power of two
  // Which of two published rules makes the codes. false, engines such as vLLM: integer scale amax / (2^(bits-1) - 1), codes
  // rne(x / s) + zero; FP8 scales never fall below 1 / (448 * 512) a token, 1e-10 / 448 a group. true, the compressed-tensors
  // library: amax / ((2^bits - 1) / 2), so that codes reach -2^(bits-1); rne(clamp(x / s + zero)); ranges always hold 0; a zero
  // scale becomes 2^-23.
  bool half_step_range = false;
  float scale = 0, zero = 0;    // static values, one part's own
  float global = 0;             // two-level formats: the static second factor
  float upper_bound = 0;        // > 0: caps |x| where the dynamic scale is computed
  float outlier_threshold = 0;  // > 0: columns with a larger |x| stay out of the codes (LLM.int8)

  bool operator==(const ActivationSpec&) const = default;
};

// Scales that a row of k elements has: 1, or ceil(k / group).
int64_t ActivationScales(const ActivationSpec& spec, int64_t k);

// Quantizes one row x [k] and gives back what the codes mean. Static specs use `scale` and `zero`; dynamic ones compute them from
// this row (kTensor: from this row alone; see FixTensorScale). Outputs, each may be null:
//   dequantized [k]  (code - zero) * scale, may alias x
//   codes [k]        int8 codes, or the bytes of e4m3
//   scales, zeros    [ActivationScales(spec, k)]; zeros as codes
// kNone copies x. NaN gives code 0 (integers) or NaN (e4m3).
void QuantizeActivationRow(const ActivationSpec& spec, const float* x, int64_t k, float* dequantized, int8_t* codes, float* scales,
                           float* zeros = nullptr);

// A dynamic per-tensor spec with the scale that x [count] (all rows together) asks for, as a static one; any other spec unchanged.
ActivationSpec FixTensorScale(const ActivationSpec& spec, const float* x, int64_t count);

}  // namespace nibble
