// SPDX-License-Identifier: Apache-2.0
// Scales in the order of NVIDIA's block-scaled matrix instructions: tiles of 128 rows by 4 columns, padded with zeros, each 512
// bytes:
//   scale (m, k) is byte ((m / 128) * ceil(columns / 4) + k / 4) * 512 + (m % 32) * 16 + (m % 128 / 32) * 4 + k % 4
#pragma once

#include <cstdint>

#include "base/math.h"
#include "tensors/tensor_view.h"

namespace nibble {

constexpr int64_t SwizzledScaleBytes(int64_t rows, int64_t columns) { return CeilDiv(rows, 128) * CeilDiv(columns, 4) * 512; }

// One-byte scales `swizzled` (contiguous, at least SwizzledScaleBytes) as [rows, columns] of the same dtype.
Tensor UnswizzleScales(const TensorView& swizzled, int64_t rows, int64_t columns);

}  // namespace nibble
