// SPDX-License-Identifier: Apache-2.0
#include "methods/marlin_weight.h"

#include <cstring>

#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {

std::vector<ParamDecl> MarlinParams(const MarlinLayout& layout) {
  std::vector<ParamDecl> params = {{layout.codes, {DType::kI32, DType::kU32}, ParamDecl::kPacked, true},
                                   {layout.scales, {DType::kF16, DType::kBF16, DType::kF32}, ParamDecl::kGroupScale, true}};
  if (!layout.meta.empty()) params.push_back({layout.meta, {DType::kI16, DType::kU16}, ParamDecl::kMeta, true});
  return params;
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

Result<StoredWeight> MakeMarlin24Weight(const BoundParams& bound, const MarlinLayout& layout) {
  NIBBLE_TRY(const TensorView words, RequireRank(bound, layout.codes, 2));
  NIBBLE_TRY(const TensorView stored, RequireRank(bound, layout.scales, 2));
  BoundParams params = bound;
  if (params.n == 0) params.n = stored.dim(1);
  if (params.k == 0) params.k = words.dim(0) * 32;
  if (params.n % 64 != 0 || params.k % 32 != 0 || (layout.bits != 4 && layout.bits != 8)) {
    return Unsupported("{}: 2:4 tiles need 4 or 8 bits, outputs in 64s, inputs in 32s; found {} bits, [{},{}]",
                       ParamName(params, layout.codes), layout.bits, params.n, params.k);
  }
  const int64_t group = layout.group_size > 0 ? layout.group_size : params.k, groups = CeilDiv(params.k, group);
  NIBBLE_RETURN_IF_ERROR(RequireParam(params, layout.codes, {params.k / 32, params.n * layout.bits / 2}));
  NIBBLE_RETURN_IF_ERROR(RequireParam(params, layout.scales, {groups, params.n}));
  NIBBLE_TRY(const TensorView meta, RequireParam(params, layout.meta, {params.k / 32, params.n * 2}));
  StoredWeight weight = StartWeight(params, "int_group", layout.codes);
  const int absent = 1 << (layout.bits - 1);
  Coded coded;
  coded.codes = Marlin24Tiles(words, meta, layout.bits, static_cast<uint8_t>(absent));
  coded.zero_default = static_cast<float>(absent);
  // The tool permutes scales by the shape that it packs, whose rows hold k / 2 codes.
  const bool permuted = group < params.k / 2;
  Tensor scales(DType::kF32, {groups, params.n});
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < params.n; ++i) {
      const int64_t column = permuted ? Marlin24ScaleColumn(i) : i;
      scales.as<float>()[g * params.n + column] =
          LoadScalar(stored.dtype, stored.data, g * stored.stride[0] + i * stored.stride[1]);
    }
  }
  coded.scale.data = scales.view.Transpose(0, 1);
  coded.scale.block_k = groups > 1 ? group : 0;
  weight.keep.push_back(scales.bytes);
  weight.body = std::move(coded);
  return weight;
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
