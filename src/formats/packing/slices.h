// SPDX-License-Identifier: Apache-2.0
// Slices of rows laid over each other (HQQ, Quanto, BitNet): a matrix of codes [rows, columns] is cut into p slices of `step` rows,
// and one word at [row % step][column] holds a field of every slice: p = 8 / bits in a byte, 10 of 3 bits in an int32. The matrix
// that is cut is W itself, or W's elements in row-major order regrouped to rows of one group each.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

struct SlicedLayout {
  int bits = 4;
  bool first_high = false;  // slice 0 lies in the highest field (HQQ); else in the lowest (Quanto, BitNet)
  int64_t k = 0;            // columns of W; element (n, k) of W is element n * k + k of the cut matrix
  // HQQ with axis 0: the cut matrix is [group, ...], so that W's rows n, n + N/group, ... share scales. The source then speaks of
  // rows ordered by shared scales: its row b is W's row b % group * rows_per_slot + b / group. 0: rows as they are.
  int64_t group = 0, rows_per_slot = 0;
};

// words: U8, or 4-byte integers for 3 bits, [step, columns], contiguous.
CodeSource SlicedRows(TensorView words, const SlicedLayout& layout);

// Fields of one word.
constexpr int64_t SlicesPerWord(int bits) { return bits == 3 ? 10 : 8 / bits; }

// codes [rows, columns] -> words [ceil(rows / p), columns] of 1 byte (4 for 3 bits).
void EncodeSlicedRows(const uint8_t* codes, int64_t rows, int64_t columns, int bits, bool first_high, std::byte* words);

}  // namespace nibble
