// SPDX-License-Identifier: Apache-2.0
#include "methods/awq_weight.h"

#include "formats/packing/awq.h"
#include "formats/packing/bit_stream.h"
#include "methods/marlin_weight.h"
#include "methods/param_checks.h"
#include "tensors/dtype.h"

namespace nibble {
namespace {

struct Groups {
  int64_t size = 0, count = 1;  // size 0: one for all
};
Groups GroupsOf(const BoundParams& params, const AwqLayout& layout) {
  if (layout.group_size <= 0 || layout.group_size >= params.k) return {};
  return {layout.group_size, CeilDiv(params.k, layout.group_size)};
}

CodeSource AlongN(const TensorView& words, int bits) {
  return bits == 4 ? AwqGemm(words) : DenseStream(words, bits, StreamAxis::kAlongN);
}

Result<Coded> Gemm(const BoundParams& params, const AwqLayout& layout, Groups groups) {
  if (params.n * layout.bits % 32 != 0) {
    return Unsupported("{}: {} outputs of {} bits do not fill words of 32 bits", ParamName(params, "qweight"), params.n,
                       layout.bits);
  }
  const int64_t words = params.n * layout.bits / 32;
  NIBBLE_TRY(const TensorView qweight, RequireParam(params, "qweight", {params.k, words}));
  NIBBLE_TRY(const TensorView scales, RequireParam(params, "scales", {groups.count, params.n}));
  Coded coded;
  coded.codes = AlongN(qweight, layout.bits);
  coded.scale.data = scales.Transpose(0, 1);
  coded.scale.block_k = groups.size;
  coded.zero_default = static_cast<float>(1 << (layout.bits - 1));
  if (params.Find("qzeros")) {
    NIBBLE_TRY(const TensorView qzeros, RequireParam(params, "qzeros", {groups.count, words}));
    coded.zero.emplace();
    coded.zero->block_k = groups.size;
    coded.zero->packed = AlongN(qzeros, layout.bits);
  }
  return coded;
}

// The padded number of stored groups: any that holds the groups and is a multiple of 8.
Status CheckPaddedGroups(const BoundParams& params, std::string_view suffix, int64_t found, int64_t groups) {
  if (found >= groups && found % 8 == 0) return {};
  return Corrupt("{}: {} stored groups, wanted a multiple of 8 that holds {}", ParamName(params, suffix), found, groups);
}

Result<Coded> Gemv(const BoundParams& params, const AwqLayout& layout, Groups groups) {
  NIBBLE_TRY(const TensorView qweight, RequireParam(params, "qweight", {params.n, CeilDiv(params.k * layout.bits, 32)}));
  NIBBLE_TRY(const TensorView scales, RequireRank(params, "scales", 2));
  NIBBLE_RETURN_IF_ERROR(CheckPaddedGroups(params, "scales", scales.dim(1), groups.count));
  NIBBLE_RETURN_IF_ERROR(RequireParam(params, "scales", {params.n, scales.dim(1)}));
  Coded coded;
  coded.codes = DenseStream(qweight, layout.bits, StreamAxis::kAlongK);
  coded.scale.data = scales.Slice(1, 0, groups.count);
  coded.scale.block_k = groups.size;
  coded.zero_default = static_cast<float>(1 << (layout.bits - 1));
  if (params.Find("qzeros")) {
    NIBBLE_TRY(const TensorView qzeros, RequireParam(params, "qzeros", {params.n, scales.dim(1) * layout.bits / 32}));
    coded.zero.emplace();
    coded.zero->block_k = groups.size;
    coded.zero->packed = DenseStream(qzeros, layout.bits, StreamAxis::kAlongK);
  }
  return coded;
}

Result<Coded> GemvFast(const BoundParams& params, const AwqLayout& layout, Groups groups) {
  if (layout.bits != 4 || params.n % 4 != 0 || params.k % 64 != 0) {
    return Unsupported("{}: gemv_fast needs 4 bits, outputs in fours, inputs in 64s; found {} bits, [{},{}]",
                       ParamName(params, "qweight"), layout.bits, params.n, params.k);
  }
  NIBBLE_TRY(const TensorView qweight, RequireParam(params, "qweight", {params.n / 4, params.k}));
  NIBBLE_TRY(const TensorView scales, RequireRank(params, "scales", 2));
  NIBBLE_RETURN_IF_ERROR(CheckPaddedGroups(params, "scales", scales.dim(0), groups.count));
  NIBBLE_RETURN_IF_ERROR(RequireParam(params, "scales", {scales.dim(0), params.n}));
  const std::string_view zeros = params.Find("scaled_zeros") ? "scaled_zeros" : "qzeros";
  NIBBLE_TRY(const TensorView qzeros, RequireParam(params, zeros, {scales.dim(0), params.n}));
  Coded coded;
  coded.codes = AwqGemvFast(qweight);
  coded.rule = ValueRule::kIntPlusBias;
  coded.scale.data = scales.Slice(0, 0, groups.count).Transpose(0, 1);
  coded.scale.block_k = groups.size;
  coded.zero.emplace();
  coded.zero->data = qzeros.Slice(0, 0, groups.count).Transpose(0, 1);
  coded.zero->block_k = groups.size;
  return coded;
}

}  // namespace

std::vector<ParamDecl> AwqParams(const AwqLayout& layout) {
  const std::vector<DType> words = {DType::kI32, DType::kU32}, floats = {DType::kF16, DType::kBF16, DType::kF32};
  if (layout.version == AwqVersion::kMarlin) return MarlinParams({.bits = layout.bits, .group_size = layout.group_size});
  const bool fast = layout.version == AwqVersion::kGemvFast;
  return {{"qweight", fast ? std::vector<DType>{DType::kI16, DType::kU16} : words, ParamDecl::kPacked, true},
          {"scales", floats, ParamDecl::kGroupScale, true},
          {"qzeros", fast ? floats : words, ParamDecl::kZeroPoint, false},
          {"scaled_zeros", floats, ParamDecl::kZeroPoint, false}};
}

Result<LinearPart> MakeAwqWeight(const BoundParams& bound, const AwqLayout& layout) {
  if (layout.bits < 2 || layout.bits > 8)
    return Unsupported("{}: {} bits, known are 2 to 8", ParamName(bound, "qweight"), layout.bits);
  if (layout.version == AwqVersion::kMarlin) return MakeMarlinWeight(bound, {.bits = layout.bits, .group_size = layout.group_size});
  StoredExtent extent{.suffix = "qweight"};
  if (layout.version == AwqVersion::kGemvFast)
    extent.row_num = 4;
  else
    extent.column_num = 32, extent.column_den = layout.bits;
  extent.swapped = layout.version == AwqVersion::kGemm;
  const BoundParams params = WithStoredShape(bound, extent);
  const Groups groups = GroupsOf(params, layout);
  StoredWeight weight = StartWeight(params, "int_group", "qweight");
  const auto make = layout.version == AwqVersion::kGemm ? Gemm : layout.version == AwqVersion::kGemv ? Gemv : GemvFast;
  NIBBLE_TRY(weight.body, make(params, layout, groups));
  return FinishPart(std::move(weight));
}

}  // namespace nibble
