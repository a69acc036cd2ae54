// SPDX-License-Identifier: Apache-2.0
// MX and NVFP4 weights, for every method whose checkpoints keep small float codes and a scale for each few columns of a row.
//
//   codes   u8 [n, k*b/8] dense stream along k, first code in the lowest bits (b = 4: low nibble first; b = 6: 4 codes in 3 bytes);
//           b = 8: e4m3 or e5m2 [n,k]
//   scales  [n, k/group]  e8m0 (also under the dtype u8), e4m3 (NVFP4) or a plain float
//   global  one number, multiplied (ModelOpt, Quark) or dividing (compressed-tensors, where it is the factor applied to W)
//   W[n][k] = (scale * global) * float(code)   or   (scale / global) * float(code);  the bracket is rounded to f32
// or, as AutoRound has it, (float(code) * (1 / global)) * scale, rounded three times.
#pragma once

#include "methods/method.h"

namespace nibble {

struct BlockFloatLayout {
  DType element = DType::kE2M1;  // e2m1, e2m3, e3m2; e4m3 and e5m2 (the tensor's dtype decides between these two)
  int64_t group = 0;             // columns of a scale; 0: by the shape of the scales
  std::string_view codes = "weight", scale = "weight_scale";
  std::string_view global;  // suffix of the second level; empty: there is none
  bool global_divides = false, global_first = false;
  bool e8m0 = false;  // u8 scales are exponents; false: they are e4m3 bytes
};

Result<StoredWeight> MakeBlockFloatWeight(const BoundParams& params, const BlockFloatLayout& layout);

// The codes alone, for files that keep the scales in an order of their own (swizzled): everything but coded.scale and scale2.
Result<Coded> MakeBlockFloatCodes(const BoundParams& params, const BlockFloatLayout& layout);

// Bits of a code of `element`: 4, 6 or 8.
int SmallFloatBits(DType element);

}  // namespace nibble
