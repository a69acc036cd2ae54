// SPDX-License-Identifier: Apache-2.0
// Weights in BitBLAS' plain order (not interleaved or tiled for a kernel).
//   qweight i8 [n, k*b/8]   codes along k, lowest bits first
//   scales  f16 [n, G]
//   zeros   ("zeros" or "qzeros") i8 [G, n*b/8] packed along n: W = s (q - z); f16 [n, G]: W = s (q - z), or with zeros_mode
//           "rescale" W = s q - z; absent or empty: z = 2^(b-1)
#pragma once

#include "methods/method.h"

namespace nibble {

struct BitBlasLayout {
  int bits = 4;  // 1, 2, 4, 8
  int64_t group_size = 128;
  bool rescale = false;
};

std::vector<ParamDecl> BitBlasParams();
Result<LinearPart> MakeBitBlasWeight(const BoundParams& params, const BitBlasLayout& layout);

}  // namespace nibble
