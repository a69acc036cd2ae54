// SPDX-License-Identifier: Apache-2.0
#include "methods/fp8_weight.h"

#include "formats/packing/bytes.h"
#include "methods/param_checks.h"

namespace nibble {

Result<StoredWeight> MakeFp8Weight(const BoundParams& bound, const Fp8Layout& layout) {
  const BoundParams params = WithStoredShape(bound, {.suffix = layout.weight_suffix});
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, layout.weight_suffix, {params.n, params.k}));
  if (bytes.dtype != DType::kE4M3 && bytes.dtype != DType::kE5M2) {
    return Corrupt("{} is {}, wanted e4m3 or e5m2", ParamName(params, layout.weight_suffix), DTypeName(bytes.dtype));
  }
  StoredWeight weight = StartWeight(params, "fp8", layout.weight_suffix);
  Coded coded;
  coded.codes = ByteCodes(bytes, 8, 0);
  coded.rule = ValueRule::kFloat;
  coded.float_type = bytes.dtype;
  NIBBLE_TRY(coded.scale, ScalePlane(params, layout.scale_suffix, layout.block_n, layout.block_k));
  if (coded.scale.data.dtype == DType::kU8) coded.scale.data.dtype = DType::kE8M0;  // ue8m0 scales under their old dtype
  coded.scale.reciprocal = layout.reciprocal;
  weight.body = std::move(coded);
  return weight;
}

}  // namespace nibble
