// SPDX-License-Identifier: Apache-2.0
// Weights that were saved before they were compressed (format "dense", status "frozen"): floats, with the scales and zero points
// that turn them into codes each time they are used. The codes are made once here.
#pragma once

#include "methods/compressed_tensors/config.h"
#include "methods/method.h"

namespace nibble {

// weight f32, f16, bf16 [n,k], weight_scale, weight_zero_point, weight_global_scale. code = rne(clamp(w / (scale / global) +
// zero)).
Result<StoredWeight> MakeUncompressed(const BoundParams& params, const CtArgs& weights);

}  // namespace nibble
