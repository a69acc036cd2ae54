// SPDX-License-Identifier: Apache-2.0
// The storage forms of compressed-tensors weights; tensors and bit order in README.md.
#pragma once

#include "methods/compressed_tensors/config.h"

namespace nibble {

// pack-quantized: weight_packed i32 [n, words], weight_scale, weight_zero_point, weight_g_idx, weight_shape.
Result<StoredWeight> MakePackedInts(const BoundParams& params, const CtArgs& weights);
// int-quantized and integers of naive-quantized: weight i8 [n,k], weight_scale, weight_zero_point i8.
Result<StoredWeight> MakeInts(const BoundParams& params, const CtArgs& weights);
// float-quantized and floats of naive-quantized: weight e4m3 or e5m2 [n,k], weight_scale.
Result<StoredWeight> MakeFloats(const BoundParams& params, const CtArgs& weights);
// nvfp4-, mxfp4-, mxfp6-pack-quantized: weight_packed u8, mxfp8-quantized: weight e4m3; weight_scale for each group of columns, and
// weight_global_scale, which divides, of nvfp4.
Result<StoredWeight> MakeBlockFloats(const BoundParams& params, const CtArgs& weights);
// marlin-24: weight_packed, scale_packed, meta; two in four columns, symmetric integers of 4 or 8 bits.
Result<StoredWeight> MakeMarlin24(const BoundParams& params, const CtArgs& weights);

// Whether the scheme is one of the small-block float formats.
bool IsBlockFloat(const CtArgs& weights);

// What the scheme demands of x, or of y; static scales are read from <side>_scale and <side>_zero_point, side "input" or "output".
Result<ActivationSpec> MakeActivations(const BoundParams& params, const std::optional<CtArgs>& args, const std::string& side);

}  // namespace nibble
