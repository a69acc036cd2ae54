// SPDX-License-Identifier: Apache-2.0
// QQQ's grouped weights as its kernel sees them: 4-bit codes in tiles, widened to int8 by a group scale, so that the product runs
// in integers. The 8-bit code of a weight is 128 + clamp(rne((code4 - 8) * s_group), -128, 127), in f32.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

// tiles: 4-byte integers [k/16, 2n] in order kQqqGroups (marlin.h); s_group: f16, bf16 or f32 [k/group, n] with permuted columns.
CodeSource QqqWidened(TensorView tiles, TensorView s_group, int64_t group);

}  // namespace nibble
