// SPDX-License-Identifier: Apache-2.0
// PyTorch's layout for its int4 matrix product on tensor cores, 4 bits: i32 [n/8][k/(16 t)][32][t/2], t = 2, 4 or 8 tiles of 16
// columns in a run; n % 8 == 0, k % (16 t) == 0.
//
// Word (i, j, lane, w) holds eight codes of row 8i + lane/4: of the two tiles of columns from 16 (t j + 2 w) on, columns 2(lane%4)
// + {0, 1, 8, 9} of the first, then of the second, these eight from the lowest bits on in the order 0,2,4,6,1,3,5,7.
#pragma once

#include <cstdint>

#include "formats/stored_weight.h"

namespace nibble {

// words: 4-byte integers [n/8, k/(16 t), 32, t/2], contiguous.
CodeSource TinygemmTiles(TensorView words);
// codes [n][k] -> words.
void EncodeTinygemmTiles(const uint8_t* codes, int64_t n, int64_t k, int64_t tiles, uint32_t* words);

}  // namespace nibble
