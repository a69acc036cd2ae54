// SPDX-License-Identifier: Apache-2.0
// 4-bit codes of the whole matrix as one run, rows end to end, high nibble first (bitsandbytes): code (n, k) is in byte (n * K + k)
// / 2, so rows of odd length begin inside a byte.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

// bytes: contiguous, any dtype (the tool stores them under several), at least CeilDiv(N * row_length, 2) bytes.
CodeSource FlatNibbles(TensorView bytes, int64_t row_length);

}  // namespace nibble
