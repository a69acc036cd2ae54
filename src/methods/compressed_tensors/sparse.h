// SPDX-License-Identifier: Apache-2.0
// Sparse storage of compressed-tensors: the values that are not zero, and a bit for each place. Expanded when the file is read.
//
//   sparse-bitmask     X.compressed [values], X.bitmask u8 [n, ceil(k/8)] lowest bit first, X.row_offsets i64 [n], X.shape
//   sparse-24-bitmask  X.compressed [n, k/2], X.bitmask, X.shape
// Values are FP8 or int8 codes (scales beside them as without sparsity) or floats of an unquantized layer. Names may hold "weight."
// before the part.
#pragma once

#include <functional>

#include "methods/method.h"

namespace nibble {

std::vector<ParamDecl> SparseParams();
bool IsSparse(const BoundParams& params);
bool IsSparse(const LayerQuery& layer);

// Calls `make` with the parameters and, in place of the sparse ones, "weight" [n,k]; the weight keeps the expanded bytes.
Result<StoredWeight> ExpandSparse(const BoundParams& params, const std::function<Result<StoredWeight>(const BoundParams&)>& make);

// Layers that are sparse and not quantized.
std::shared_ptr<const LinearMethod> MakeSparseMethod();

}  // namespace nibble
