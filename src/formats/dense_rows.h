// SPDX-License-Identifier: Apache-2.0
// Weights as matrices that can be taken apart (multi-head latent attention). What is made new is f32 and owns its numbers.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

// The same matrix with everything multiplied in that is done to x and y: transforms, low-rank terms. Itself where nothing is. Costs
// n k^2, which only a narrow k is worth.
Result<StoredWeight> MultiplyIn(const StoredWeight& weight);

// Of weights without transforms: rows `rows` in their own format, or as f32 where it cannot be cut there; and their transpose,
// [k, rows.size()].
Result<StoredWeight> CutRows(const StoredWeight& weight, Range rows);
StoredWeight TransposedRows(const StoredWeight& weight, Range rows);

}  // namespace nibble
