// SPDX-License-Identifier: Apache-2.0
// The storage forms of Quark weights and what a layer demands of x; tensors and bit orders in README.md.
#pragma once

#include "methods/quark/config.h"

namespace nibble {

// One number format: "weight", "weight_scale" (or weight_scale_inv), "weight_zero_point"; two: a tensor's and its scales' (NVFP4,
// "weight_scale_2"), or FP8 of which the codes are integers (int4_fp8).
Result<StoredWeight> MakeQuarkWeight(const BoundParams& params, const QuarkSpecs& specs, bool reorder);

// Static scales are read from <side>_scale, <side>_zero_point and <side>_scale_2; side: "input" or "output".
Result<ActivationSpec> MakeQuarkActivations(const BoundParams& params, const QuarkSpecs& specs, const char* side);

}  // namespace nibble
