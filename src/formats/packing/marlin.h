// SPDX-License-Identifier: Apache-2.0
// Marlin's tile layout as checkpoints store it, 4 or 8 bits: i32 [k/16, n*16*b/32], k % 16 == 0, n % 64 == 0.
//
// Row t holds the codes of columns 16t..16t+15 for all n. Tiles of 16 x 16, tile by tile along n, inside a tile k by k; every run
// of four tiles (1024 codes) is permuted so that a GPU thread finds its tensor-core fragment in consecutive words: for i in 0..31,
// j in 0..3 and block in {0, 1}, rows 2(i%4) + {0, 1, 8, 9} of column i/4 + 8 block of tile j, these eight in the order
// 0,2,4,6,1,3,5,7 (8 bits: each four in the order 0,2,1,3). Words are filled from the lowest bits.
#pragma once

#include <cstdint>

#include "formats/stored_weight.h"

namespace nibble {

// QQQ keeps four neighbouring rows 4(i%4) + {0, 1, 2, 3} instead, 4 bits only; per channel, eight codes in the order
// 4,0,5,1,6,2,7,3. kSparse24: the kept codes of 2:4 matrices, whose threads take four neighbouring columns.
enum class MarlinOrder : uint8_t { kMarlin, kQqqGroups, kQqqChannel, kSparse24 };

// words: 4-byte integers [k/16, n*b/2], contiguous rows; bits 4 or 8.
CodeSource MarlinTiles(TensorView words, int bits, MarlinOrder order = MarlinOrder::kMarlin);
// codes [n][k] -> words [k/16][n*b/2].
void EncodeMarlinTiles(const uint8_t* codes, int64_t n, int64_t k, int bits, uint32_t* words,
                       MarlinOrder order = MarlinOrder::kMarlin);

// Marlin's layout of a matrix of which two in each four neighbouring columns are kept (2:4), 4 or 8 bits; k % 32 == 0, n % 64 == 0.
// words [k/32, n*b/2] hold the kept codes, a matrix [n, k/2], in tiles with a permutation of their own. meta, 2-byte integers
// [k/32, 2n], contiguous, has four bits for each four columns: index of the first kept one, then of the second; its 16-bit elements,
// one for 16 columns of a row, are moved about in runs of 64 rows. A column that is not kept has the code `absent`.
CodeSource Marlin24Tiles(TensorView words, TensorView meta, int bits, uint8_t absent);
// The column of the plain matrix whose scale a 2:4 checkpoint keeps at column `stored`, more than one group of scales.
int64_t Marlin24ScaleColumn(int64_t stored);

// The column of the plain matrix whose scale a checkpoint keeps at column `stored`. grouped: more than one group of scales.
int64_t MarlinScaleColumn(int64_t stored, bool grouped);

}  // namespace nibble
