// SPDX-License-Identifier: Apache-2.0
// The packings of AWQ that are not plain bit streams, 4 bits.
//
//   GEMM       i32 [k, n/8]: nibble i of word c in row k holds column 8c + {0,2,4,6,1,3,5,7}[i]; codes 0..7 of columns 0..7 make
//              0x75316420. Zero points [groups, n/8] likewise. (8 bits: bytes in plain order, a dense stream along n.)
//   GEMV_FAST  i16 [n/4, k], n % 4 == 0, k % 64 == 0: code (n, k) is nibble (k % 32) / 8 of word
//              64 (k / 64) + 16 (n % 4) + 8 ((k % 64) / 32) + k % 8 in row n / 4
// (GEMV, i32 [n, k/8] sequential along k, is DenseStream.)
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

// words: 4-byte integers [k, n/8] (or [groups, n/8]: columns are then groups), any row stride.
CodeSource AwqGemm(TensorView words);
// The same nibble order along rows (Quark): words [n, k/8], nibble i of word c in row n holds column 8c + {0,2,4,6,1,3,5,7}[i].
CodeSource AwqRows(TensorView words);
// words: 2-byte integers [n/4, k], contiguous rows.
CodeSource AwqGemvFast(TensorView words);

// codes [n][k] -> words as above.
void EncodeAwqGemm(const uint8_t* codes, int64_t n, int64_t k, uint32_t* words);
void EncodeAwqGemvFast(const uint8_t* codes, int64_t n, int64_t k, uint16_t* words);

}  // namespace nibble
