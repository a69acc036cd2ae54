// SPDX-License-Identifier: Apache-2.0
// Trellis-coded weights, for the methods whose checkpoints keep them (qtip, exl3).
#pragma once

#include "formats/trellis/trellis.h"
#include "methods/method.h"

namespace nibble {

struct TrellisLayout {
  TrellisCode code = TrellisCode::k3Inst;
  TrellisOrder order = TrellisOrder::kPlain;
  int bits = 0, vec = 1;
  std::string_view table;  // suffix of the table of the codes that have one, [2^Q, vec]
  int table_bits = 0;
};

// "trellis": 16-bit integers; the inner matrix [params.n, params.k], without transforms. Errors: sizes that are no whole tiles,
// tensors of other shapes.
Result<StoredWeight> MakeTrellisWeight(const BoundParams& params, const TrellisLayout& layout);

// x *= suffix, a vector [size].
Result<Transform> ScaleTransform(const BoundParams& params, std::string_view suffix, int64_t size);

}  // namespace nibble
