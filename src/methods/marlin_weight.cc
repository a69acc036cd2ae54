// SPDX-License-Identifier: Apache-2.0
#include "methods/marlin_weight.h"

#include <cstring>

#include "methods/param_checks.h"

namespace nibble {

std::vector<ParamDecl> MarlinParams(const MarlinLayout& layout) {
  return {{layout.codes, {DType::kI32, DType::kU32}, ParamDecl::kPacked, true},
          {layout.scales, {DType::kF16, DType::kBF16, DType::kF32}, ParamDecl::kGroupScale, true}};
}

Result<MarlinTensor> RequireMarlinTiles(const BoundParams& bound, std::string_view suffix, int bits) {
  MarlinTensor tiles;
  tiles.params = WithStoredShape(bound, {.suffix = suffix, .row_num = 16, .column_num = 2, .column_den = bits, .swapped = true});
  const int64_t n = tiles.params.n, k = tiles.params.k;
  if ((bits != 4 && bits != 8) || n % 64 != 0 || k % 16 != 0) {
    return Unsupported("{}: marlin tiles need 4 or 8 bits, outputs in 64s, inputs in 16s; found {} bits, [{},{}]",
                       ParamName(bound, suffix), bits, n, k);
  }
  NIBBLE_TRY(tiles.words, RequireParam(tiles.params, suffix, {k / 16, n * bits / 2}));
  return tiles;
}

Result<TensorView> MarlinScales(const BoundParams& params, std::string_view suffix, int64_t groups, bool grouped,
                                StoredWeight& weight) {
  NIBBLE_TRY(const TensorView stored, RequireParam(params, suffix, {groups, params.n}));
  Tensor scales(stored.dtype, {groups, params.n});
  const int64_t size = DTypeBytes(stored.dtype);
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < params.n; ++i) {
      const int64_t column = MarlinScaleColumn(i, grouped);
      if (column >= params.n) return Corrupt("{}: {} columns do not fill marlin's runs", ParamName(params, suffix), params.n);
      std::memcpy(scales.bytes->data() + (g * params.n + column) * size,
                  stored.data + (g * stored.stride[0] + i * stored.stride[1]) * size, static_cast<size_t>(size));
    }
  }
  weight.keep.push_back(scales.bytes);
  return scales.view;
}

Result<LinearPart> MakeMarlinWeight(const BoundParams& bound, const MarlinLayout& layout) {
  NIBBLE_TRY(const MarlinTensor tiles, RequireMarlinTiles(bound, layout.codes, layout.bits));
  const BoundParams& params = tiles.params;
  const bool grouped = layout.group_size > 0 && layout.group_size < params.k;
  StoredWeight weight = StartWeight(params, "int_group", layout.codes);
  Coded coded;
  coded.codes = MarlinTiles(tiles.words, layout.bits);
  NIBBLE_TRY(const TensorView scales,
             MarlinScales(params, layout.scales, grouped ? CeilDiv(params.k, layout.group_size) : 1, grouped, weight));
  coded.scale.data = scales.Transpose(0, 1);
  coded.scale.block_k = grouped ? layout.group_size : 0;
  coded.zero_default = static_cast<float>(1 << (layout.bits - 1));
  weight.body = std::move(coded);
  return FinishPart(std::move(weight));
}

}  // namespace nibble
