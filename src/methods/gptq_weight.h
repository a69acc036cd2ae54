// SPDX-License-Identifier: Apache-2.0
// Weights in GPTQ's layout, for every method whose checkpoints use it (gptq, auto_round).
//
//   qweight i32 [k*b/32, n]  codes of a column packed along k, lowest bits first; 3 bits: 32 codes in 3 words; or split planes;
//   words
//                            of 8 and 16 bits exist for 2, 4 and 8 bits
//   qzeros  i32 [G, n*b/32]  packed along n; v1 stores z - 1 (15 means 16), v2 stores z
//   scales  f16|bf16 [G, n];  g_idx i32 [k]: group of each column, absent or k / g without act-order
//   W[n][k] = scales[g][n] * (code - z[g][n])
#pragma once

#include "methods/method.h"

namespace nibble {

struct GptqLayout {
  int bits = 4;                // 2 to 8, what the config says; the words of qweight must agree
  int64_t group_size = 128;    // -1: one group
  bool zeros_plus_one = true;  // v1
  int word_bits = 32;          // of qweight and qzeros: 8, 16 or 32 (GPTQModel's pack_dtype)
  bool planar = false;         // codes and zero points in split planes (formats/packing/planar.h)
};

std::vector<ParamDecl> GptqParams();
// Linear weight [n,k].
Result<LinearPart> MakeGptqWeight(const BoundParams& params, const GptqLayout& layout);
// Embedding table [n,k] = [vocabulary, hidden], stored as the transpose: qweight [n*b/32, k], scales [G, k] with groups along n.
Result<LinearPart> MakeGptqEmbedding(const BoundParams& params, const GptqLayout& layout);

}  // namespace nibble
