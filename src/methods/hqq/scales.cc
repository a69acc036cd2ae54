// SPDX-License-Identifier: Apache-2.0
#include "methods/hqq/scales.h"

#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct HqqScaleNames {
  std::string_view plain, bytes, scale, zero, stacked;
};
constexpr HqqScaleNames kHqqScale[] = {
    {"scale", "scale_q", "meta_scale.scale", "meta_scale.zero", "zero_scale"},
    {"meta.scale", "meta.scale_q", "meta.meta_scale.scale", "meta.meta_scale.zero", "meta.zero_scale"}};
constexpr HqqScaleNames kHqqZero[] = {
    {"zero", "zero_q", "meta_zero.scale", "meta_zero.zero", "zero_scale"},
    {"meta.zero", "meta.zero_q", "meta.meta_zero.scale", "meta.meta_zero.zero", "meta.zero_scale"}};

// Of which of `meta`'s elements element i of `bytes` [r,c] is: the only one, its column's or its row's.
Result<int64_t> Step(const BoundParams& params, std::string_view name, const TensorView& bytes, bool& by_row) {
  const TensorView meta = params.View(name);
  const int64_t columns = bytes.rank() == 2 ? bytes.dim(1) : bytes.elems();
  if (meta && meta.elems() == 1) return bytes.elems();
  by_row = meta && meta.rank() == 2 && meta.dim(1) == 1;
  if (meta && meta.contiguous() && meta.elems() == (by_row ? bytes.elems() / columns : columns)) return columns;
  return Corrupt("{} is {}, wanted one number, or one for each row or column of {}", ParamName(params, name),
                 meta ? meta.shape.ToString() : "missing", bytes.shape.ToString());
}

Result<TensorView> DecodeHqqScales(const BoundParams& params, const HqqScaleNames& names, const TensorView& bytes, HqqScales& out) {
  if (!bytes.contiguous()) return Corrupt("{} is strided", ParamName(params, names.bytes));
  bool by_row = false, zero_by_row = false;
  NIBBLE_TRY(const int64_t columns, Step(params, names.scale, bytes, by_row));
  NIBBLE_TRY(const int64_t zero_columns, Step(params, names.zero, bytes, zero_by_row));
  if (columns != zero_columns || by_row != zero_by_row)
    return Corrupt("{} and {} have different shapes", ParamName(params, names.scale), ParamName(params, names.zero));
  const TensorView scale = params.View(names.scale), zero = params.View(names.zero);
  Tensor values(DType::kF32, bytes.shape);
  for (int64_t i = 0; i < bytes.elems(); ++i) {
    const int64_t at = scale.elems() == 1 ? 0 : by_row ? i / columns : i % columns;
    const float code = LoadScalar(bytes.dtype, bytes.data, i);
    values.as<float>()[i] = (code - LoadScalar(zero.dtype, zero.data, at)) * LoadScalar(scale.dtype, scale.data, at);
  }
  out.keep.push_back(values.bytes);
  return values.view;
}

// Under the names that the module has.
Result<TensorView> FindHqqScales(const BoundParams& params, std::span<const HqqScaleNames> spellings, int64_t stacked_at,
                                 HqqScales& out) {
  for (const HqqScaleNames& names : spellings) {
    if (const TensorView plain = params.View(names.plain)) return plain;
    if (const TensorView bytes = params.View(names.bytes)) return DecodeHqqScales(params, names, bytes, out);
    const TensorView stacked = params.View(names.stacked);
    if (!stacked) continue;
    if (stacked.rank() < 2 || stacked.dim(0) != 2)
      return Corrupt("{} is {}, wanted two stacked tensors", ParamName(params, names.stacked), stacked.shape.ToString());
    const TensorView own = stacked.Select(0, stacked_at);
    return own.dtype == DType::kU8 ? DecodeHqqScales(params, names, own, out) : own;
  }
  return Corrupt("{} is missing", ParamName(params, spellings[0].plain));
}

}  // namespace

std::vector<ParamDecl> HqqScaleParams() {
  const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32};
  std::vector<DType> any = floats;
  any.push_back(DType::kU8);
  std::vector<ParamDecl> params;
  for (size_t spelling = 0; spelling < std::size(kHqqScale); ++spelling) {
    params.push_back({kHqqScale[spelling].stacked, any, ParamDecl::kGroupScale, false});
    for (const HqqScaleNames& names : {kHqqScale[spelling], kHqqZero[spelling]}) {
      params.push_back({names.plain, floats, ParamDecl::kGroupScale, false});
      params.push_back({names.bytes, {DType::kU8}, ParamDecl::kGroupScale, false});
      params.push_back({names.scale, floats, ParamDecl::kGroupScale, false});
      params.push_back({names.zero, floats, ParamDecl::kZeroPoint, false});
    }
  }
  return params;
}

Result<HqqScales> ReadHqqScales(const BoundParams& params) {
  HqqScales scales;
  NIBBLE_TRY(scales.zero, FindHqqScales(params, kHqqZero, 0, scales));
  NIBBLE_TRY(scales.scale, FindHqqScales(params, kHqqScale, 1, scales));
  return scales;
}

}  // namespace nibble
