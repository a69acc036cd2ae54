// SPDX-License-Identifier: Apache-2.0
#include "methods/trellis_weight.h"

#include "methods/param_checks.h"

namespace nibble {

Result<StoredWeight> MakeTrellisWeight(const BoundParams& params, const TrellisLayout& layout) {
  const int64_t unit = layout.order == TrellisOrder::kKernel ? 2 * kTrellisTile : kTrellisTile;
  if (params.n < 1 || params.k < 1 || params.n % unit != 0 || params.k % unit != 0)
    return Unsupported("{}: a weight [{},{}] is not made of whole tiles of {}", ParamName(params, "trellis"), params.n, params.k,
                       unit);
  const int64_t rows = params.n / kTrellisTile, columns = params.k / kTrellisTile, words = 16 * layout.bits;
  StoredWeight weight = StartWeight(params, "trellis", "trellis");
  Trellis trellis{.bits = layout.bits,
                  .vec = layout.vec,
                  .codebook = static_cast<uint8_t>(layout.code),
                  .tile_order = static_cast<uint8_t>(layout.order)};
  if (layout.order == TrellisOrder::kExl3) {
    NIBBLE_TRY(trellis.tiles, RequireParam(params, "trellis", {columns, rows, words}));
  } else {
    NIBBLE_TRY(trellis.tiles, RequireParam(params, "trellis", {rows * columns, words}));
  }
  if (!trellis.tiles.contiguous() || DTypeBytes(trellis.tiles.dtype) != 2)
    return Corrupt("{} is {}, wanted 16-bit integers", ParamName(params, "trellis"), DTypeName(trellis.tiles.dtype));
  if (layout.code > TrellisCode::kMul1) {
    NIBBLE_TRY(trellis.lut, RequireParam(params, layout.table, {int64_t{1} << layout.table_bits, layout.vec}));
  }
  weight.body = trellis;
  return weight;
}

Result<Transform> ScaleTransform(const BoundParams& params, std::string_view suffix, int64_t size) {
  NIBBLE_TRY(const TensorView scale, RequireParam(params, suffix, {size}));
  return Transform{.kind = Transform::kScale, .data = scale};
}

}  // namespace nibble
