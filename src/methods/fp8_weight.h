// SPDX-License-Identifier: Apache-2.0
// FP8 weights, for every method whose checkpoints keep one e4m3 or e5m2 byte a weight and scales of any grain beside it.
//   W[n][k] = float8(weight[n][k]) * S,   S from a tensor [] [1] [n] [n,1] or [ceil(n / block_n), ceil(k / block_k)]
#pragma once

#include "methods/method.h"

namespace nibble {

struct Fp8Layout {
  int64_t block_n = 0, block_k = 0;  // where the scales are 2-D blocks or groups (block_n 1)
  bool reciprocal = false;           // the stored scale divides: W = float8(weight) / stored
  std::string_view scale_suffix = "weight_scale", weight_suffix = "weight";
};

// e4m3 or e5m2 by the tensor's dtype; "weight" [n,k].
Result<StoredWeight> MakeFp8Weight(const BoundParams& params, const Fp8Layout& layout);

}  // namespace nibble
