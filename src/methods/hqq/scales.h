// SPDX-License-Identifier: Apache-2.0
// Scales and zero points of a HQQ module. Before hqq 0.2 they were quantized themselves (zero points by default), to bytes with
// scales and zero points of their own:
//
//   X.zero_q U8 [r,c], X.meta_zero.scale, .zero: one, [1,c] or [r,1]   value = (byte - zero) * scale, in f32; scale_q likewise
//   X.meta.zero_q ...: the same names in a dict of their own
//   X.zero_scale [2,r,c]: both stacked, zero points first (offload_meta), bytes or floats
#pragma once

#include "methods/method.h"

namespace nibble {

struct HqqScales {
  TensorView scale, zero;
  std::vector<std::shared_ptr<const void>> keep;  // of those that were decoded
};

// The parameters above, none of them required.
std::vector<ParamDecl> HqqScaleParams();
Result<HqqScales> ReadHqqScales(const BoundParams& params);

}  // namespace nibble
