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
  bool pow2_scale = false;    // dynamic scales are rounded up to a power of two
  // Dynamic integer scales divide the range by half the number of steps (127.5, 7.5) as compressed-tensors does, codes reach
  // -2^(bits-1); false: by 2^(bits-1) - 1.
  bool half_step_range = false;
  float scale = 0, zero = 0;      // static values, one part's own
  float global = 0;               // two-level formats: the static second factor
  float upper_bound = 0;          // > 0: caps |x| where the dynamic scale is computed
  float outlier_threshold = 0;    // > 0: columns with a larger |x| stay out of the codes (LLM.int8)

  bool operator==(const ActivationSpec&) const = default;
};

}  // namespace nibble
