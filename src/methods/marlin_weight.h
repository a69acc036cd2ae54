// SPDX-License-Identifier: Apache-2.0
// Weights that a file keeps in Marlin's tiles, for every method whose checkpoints do (awq, gptq, qqq).
//   codes   i32 [k/16, n*b/2], formats/packing/marlin.h
//   scales  f16 [G, n], columns permuted                     W[n][k] = scales[g][n] * (code - 2^(b-1))
#pragma once

#include "formats/packing/marlin.h"
#include "methods/method.h"

namespace nibble {

struct MarlinLayout {
  int bits = 4;
  int64_t group_size = 128;                                     // -1: one group
  std::string_view codes = "qweight", scales = "scales", meta;  // meta: 2:4 files alone
};

std::vector<ParamDecl> MarlinParams(const MarlinLayout& layout);
Result<LinearPart> MakeMarlinWeight(const BoundParams& params, const MarlinLayout& layout);

// 2:4 matrices, symmetric: codes of the kept half [k/32, n*b/2], meta i16 [k/32, 2n], scales with columns permuted where there are
// groups of less than k / 2.
Result<StoredWeight> MakeMarlin24Weight(const BoundParams& params, const MarlinLayout& layout);

// The parameters with n and k taken from the tiles where the model does not say, checked to fill whole tiles, and the tiles.
struct MarlinTensor {
  BoundParams params;
  TensorView words;
};
Result<MarlinTensor> RequireMarlinTiles(const BoundParams& params, std::string_view suffix, int bits);

// Scales [groups, n] with their columns back in order: a copy, which weight.keep holds.
Result<TensorView> MarlinScales(const BoundParams& params, std::string_view suffix, int64_t groups, bool grouped,
                                StoredWeight& weight);

}  // namespace nibble
