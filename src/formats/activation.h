// SPDX-License-Identifier: Apache-2.0
// What a checkpoint method demands of the activations x before the product (after the `in` transforms of the weight): W8A8, FP8,
// W4A8, NVFP4, MX ... A spec of grain kNone means that x stays as it is.
#pragma once

#include <cstdint>

#include "tensors/dtype.h"

namespace nibble {

struct ActivationSpec {
  enum Grain : uint8_t {
    kNone,
    kTensor,  // one scale for the whole x; dynamic: over all rows of a sequence
    kToken,   // one scale a row
    kGroup,   // one scale for each `group` columns of a row
  } grain = kNone;
  DType code = DType::kNone;  // kI8; kE4M3, kE5M2, kE3M2, kE2M3, kE2M1
  int bits = 8;               // integers narrower than their code: 4 for int4 activations
  int group = 0;              // kGroup: columns of a group
  bool dynamic = true;        // false: `scale` and `zero` below
  bool symmetric = true;
  // Whose arithmetic makes the codes; the published rules differ in roundings, ranges and in what a group of zeros gets (the table
  // in formats/activation.md).
  enum Rule : uint8_t { kEngine, kCompressedTensors, kModelOpt, kQuark, kAutoRound, kTorchao } rule = kEngine;
  // What dynamic scales may be. Powers of two from the largest |x|, amax, of the group; max is the largest code, 2^emax its binade:
  enum ScaleCode : uint8_t {
    kFloat,          // any f32
    kPow2Up,         // 2^ceil(log2(amax / max)): nothing saturates
    kPow2Floor,      // 2^(floor(log2(amax)) - emax): OCP's rule
    kPow2Ceil,       // 2^(ceil(log2(amax)) - emax)
    kPow2Even,       // as kPow2Floor of amax rounded to the code's mantissa
    kE4M3,           // two levels: an e4m3 number times or over `global`
    kPow2Thirds,     // 2^floor(log2 amax) / 3 (FP-Quant's abs_max, e2m1)
    kPow2Deviation,  // 2^floor(log2(2.92247856 / 6 * standard deviation + 1e-8)) (FP-Quant's quest)
    kE5M3,           // an unsigned e5m3 number (amdfp4 of Quark); 2^-23 in the place of 0
  } scale_code = kFloat;
  float scale = 0, zero = 0;  // static values, one part's own
  // kE4M3: kModelOpt, kQuark and kTorchao multiply by it, the others divide by it (they apply it to x). kTorchao: 0 is dynamic,
  // amax of all of x over 6 * 448.
  float global = 0;
  float upper_bound = 0;  // > 0: caps |x| where the dynamic scale is computed
  // > 0: LLM.int8. x is rounded to f16 first; elements with |x| at or above stay out of the codes and out of amax (infinity: none).
  // A column with one stays out of the codes of every row of its sequence; QuantizeActivationRow sees one row, the executor the
  // others (bitsandbytes: of its whole batch).
  float outlier_threshold = 0;

  bool operator==(const ActivationSpec&) const = default;
};

// Whether QuantizeActivationRow can do it: codes and rules that exist, groups that are positive, a finite static scale.
bool IsRunnable(const ActivationSpec& spec);

// Scales that a row of k elements has: 1, or ceil(k / group).
int64_t ActivationScales(const ActivationSpec& spec, int64_t k);

// Quantizes one row x [k] and gives back what the codes mean. Static specs use `scale` and `zero`; dynamic ones compute them from
// this row (kTensor: from this row alone; see FixTensorScale). Outputs, each may be null:
//   dequantized [k]  (code - zero) * scale, may alias x
//   codes [k]        int8 codes, or the bytes of the float code
//   scales, zeros    [ActivationScales(spec, k)]; zeros as codes
// kNone copies x. NaN gives code 0 (integers) or NaN (floats, where `dequantized`).
void QuantizeActivationRow(const ActivationSpec& spec, const float* x, int64_t k, float* dequantized, int8_t* codes, float* scales,
                           float* zeros = nullptr);

// A dynamic per-tensor spec with the scale that x [count] (all rows together) asks for, as a static one; any other spec unchanged.
ActivationSpec FixTensorScale(const ActivationSpec& spec, const float* x, int64_t count);

}  // namespace nibble
