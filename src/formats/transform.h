// SPDX-License-Identifier: Apache-2.0
// Transforms on one row of activations, before the product (StoredWeight::in) or after it (StoredWeight::out). This is the
// definition; kernels may fuse it.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "formats/stored_weight.h"

namespace nibble {

// Why one of the transforms cannot be applied to rows of `width` elements (a Hadamard size that is not known, wrong shapes, indices
// out of range), or success. Call once at load: ApplyTransforms then cannot fail.
Status CheckTransforms(std::span<const Transform> transforms, int64_t width);

// Applies them in order, in place. row [width], scratch [width]; f32 arithmetic.
//   kScale     x[j] *= data[j]                                             inverse: division
//   kPermute   x'[j] = x[data[j]]                                          inverse: x'[data[j]] = x[j]
//   kHadamard  every block of b = `block` or width elements: x' = (x * signs) H_b / sqrt(b); signs = data [width], [b] or none.
//              H_b = Sylvester's for powers of two (H[i][j] = (-1)^popcount(i & j)); for b = m 2^p with a stored matrix data2 [m,
//              m] of +-1: data2 (x) H_{2^p}.  inverse: (x H_b^T / sqrt(b)) * signs
//   kGivens    for every pair p in order, (i, j) = data2[p]: x_i' = c x_i - s x_j, x_j' = s x_i + c x_j with the angle data[p];
//   inverse: reverse
//              order, opposite angles
//   kMatrix    every block: x' = x data, data [b, b]                       inverse: x data^T
Status ApplyTransforms(std::span<const Transform> transforms, float* row, int64_t width, float* scratch);

}  // namespace nibble
