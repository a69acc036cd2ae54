// SPDX-License-Identifier: Apache-2.0
#include "methods/bitblas_weight.h"

#include "formats/packing/bit_stream.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

Status SetZeros(const BoundParams& params, const BitBlasLayout& layout, int64_t groups, Coded& coded) {
  const std::string_view name = params.Find("qzeros") ? "qzeros" : "zeros";
  if (!params.Find(name) || params.View(name).elems() == 0) return {};
  const TensorView stored = params.View(name);
  Plane& zero = coded.zero.emplace();
  zero.block_k = coded.scale.block_k;
  if (IsFloat(stored.dtype)) {
    NIBBLE_TRY(zero.data, RequireParam(params, name, {params.n, groups}));
    if (layout.rescale) {
      coded.rule = ValueRule::kIntPlusBias;
      zero.multiplier = -1;
    }
    return {};
  }
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, name, {groups, params.n * layout.bits / 8}));
  zero.packed = DenseStream(bytes, layout.bits, StreamAxis::kAlongN);
  return {};
}

}  // namespace

std::vector<ParamDecl> BitBlasParams() {
  const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32},
                           zeros = {DType::kI8, DType::kU8, DType::kF16, DType::kBF16};
  return {{"qweight", {DType::kI8, DType::kU8}, ParamDecl::kPacked, true},
          {"scales", floats, ParamDecl::kGroupScale, true},
          {"qzeros", zeros, ParamDecl::kZeroPoint, false},
          {"zeros", zeros, ParamDecl::kZeroPoint, false}};
}

Result<LinearPart> MakeBitBlasWeight(const BoundParams& bound, const BitBlasLayout& layout) {
  const int bits = layout.bits;
  if (bits != 1 && bits != 2 && bits != 4 && bits != 8) {
    return Unsupported("{}: {} bits in BitBLAS' layout, known are 1, 2, 4, 8", ParamName(bound, "qweight"), bits);
  }
  const BoundParams params = WithStoredShape(bound, {.suffix = "qweight", .column_num = 8, .column_den = bits});
  if (params.n * bits % 8 != 0 || params.k * bits % 8 != 0) {
    return Unsupported("{}: {}-bit codes of [{},{}] do not fill bytes", ParamName(params, "qweight"), bits, params.n, params.k);
  }
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, "qweight", {params.n, params.k * bits / 8}));
  const bool grouped = layout.group_size > 0 && layout.group_size < params.k;
  const int64_t groups = grouped ? CeilDiv(params.k, layout.group_size) : 1;
  StoredWeight weight = StartWeight(params, "int_group", "qweight");
  Coded coded;
  coded.codes = DenseStream(bytes, bits, StreamAxis::kAlongK);
  NIBBLE_TRY(coded.scale.data, RequireParam(params, "scales", {params.n, groups}));
  coded.scale.block_k = grouped ? layout.group_size : 0;
  coded.zero_default = static_cast<float>(1 << (bits - 1));
  NIBBLE_RETURN_IF_ERROR(SetZeros(params, layout, groups, coded));
  weight.body = std::move(coded);
  return FinishPart(std::move(weight));
}

}  // namespace nibble
