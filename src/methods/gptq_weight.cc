// SPDX-License-Identifier: Apache-2.0
#include "methods/gptq_weight.h"

#include "formats/packing/planar.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// Shapes of a stored matrix with `in` packed features and `out` columns.
struct Checked {
  TensorView qweight, scales;
  int64_t groups = 0, group = 0;  // group 0: one for all
};

Status CheckBits(const BoundParams& params, const TensorView& qweight, int64_t in, const GptqLayout& layout) {
  const int bits = layout.bits, word = layout.word_bits;
  if (bits < 2 || bits > 8)
    return Unsupported("{}: {} bits in GPTQ's layout, known are 2 to 8", ParamName(params, "qweight"), bits);
  for (const std::string_view name : {"qweight", "qzeros"}) {
    const TensorView view = params.View(name);
    if (!view || DTypeBytes(view.dtype) * 8 == word) continue;
    return Corrupt("{} is {}, but the config's pack_dtype is int{}", ParamName(params, name), DTypeName(view.dtype), word);
  }
  if (in * bits % word == 0 && qweight.dim(0) == in * bits / word) return {};
  const int64_t found = in > 0 ? qweight.dim(0) * word / in : 0;
  return Corrupt(
      "{} is {}: that many words hold {}-bit codes of {} features, but the config says {} bits; correct bits in the config",
      ParamName(params, "qweight"), qweight.shape.ToString(), found, in, bits);
}

Result<Checked> CheckShapes(const BoundParams& params, const GptqLayout& layout, int64_t in, int64_t out) {
  Checked checked;
  NIBBLE_TRY(checked.qweight, RequireRank(params, "qweight", 2));
  NIBBLE_RETURN_IF_ERROR(CheckBits(params, checked.qweight, in, layout));
  if (layout.planar && (in % 32 != 0 || out % 32 != 0)) {
    return Unsupported("{}: split planes of {} by {} features, wanted multiples of 32", ParamName(params, "qweight"), in, out);
  }
  if (checked.qweight.dim(1) != out) {
    return Corrupt("{} is {}, wanted [{},{}]", ParamName(params, "qweight"), checked.qweight.shape.ToString(),
                   checked.qweight.dim(0), out);
  }
  checked.group = layout.group_size <= 0 || layout.group_size >= in ? 0 : layout.group_size;
  checked.groups = checked.group == 0 ? 1 : CeilDiv(in, checked.group);
  NIBBLE_TRY(checked.scales, RequireParam(params, "scales", {checked.groups, out}));
  if (params.Find("qzeros")) {
    NIBBLE_RETURN_IF_ERROR(RequireParam(params, "qzeros", {checked.groups, CeilDiv(out * layout.bits, layout.word_bits)}));
  }
  return checked;
}

CodeSource Stream(const GptqLayout& layout, const TensorView& words, StreamAxis axis) {
  return layout.planar ? PlanarStream(words, layout.bits, axis) : DenseStream(words, layout.bits, axis);
}

float Bias(const GptqLayout& layout) { return layout.zeros_plus_one ? 1.0f : 0.0f; }

}  // namespace

std::vector<ParamDecl> GptqParams() {
  const std::vector<DType> words = {DType::kI32, DType::kU32, DType::kI16, DType::kI8, DType::kU8};
  return {{"qweight", words, ParamDecl::kPacked, true},
          {"scales", {DType::kF16, DType::kBF16, DType::kF32}, ParamDecl::kGroupScale, true},
          {"qzeros", words, ParamDecl::kZeroPoint, false},
          {"g_idx", {DType::kI32, DType::kI64}, ParamDecl::kGroupIndex, false}};
}

Result<LinearPart> MakeGptqWeight(const BoundParams& bound, const GptqLayout& layout) {
  const BoundParams params =
      WithStoredShape(bound, {.suffix = "qweight", .row_num = layout.word_bits, .row_den = layout.bits, .swapped = true});
  NIBBLE_TRY(const Checked checked, CheckShapes(params, layout, params.k, params.n));
  StoredWeight weight = StartWeight(params, "int_group", "qweight");
  Coded coded;
  coded.codes = Stream(layout, checked.qweight.Transpose(0, 1), StreamAxis::kAlongK);
  coded.scale.data = checked.scales.Transpose(0, 1);
  coded.scale.block_k = checked.group;
  coded.zero_default = static_cast<float>(1 << (layout.bits - 1));
  if (const TensorView zeros = params.View("qzeros")) {
    coded.zero.emplace();
    coded.zero->block_k = checked.group;
    coded.zero->packed = Stream(layout, zeros, StreamAxis::kAlongN);
    coded.zero->packed_bias = Bias(layout);
  }
  NIBBLE_TRY(coded.group_of_k, GroupMap(params, "g_idx", checked.group, checked.groups, weight));
  weight.body = std::move(coded);
  return FinishPart(std::move(weight));
}

Result<LinearPart> MakeGptqEmbedding(const BoundParams& bound, const GptqLayout& layout) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "qweight", .row_num = layout.word_bits, .row_den = layout.bits});
  NIBBLE_TRY(const Checked checked, CheckShapes(params, layout, params.n, params.k));
  StoredWeight weight = StartWeight(params, "int_group", "qweight");
  if (const TensorView map = params.View("g_idx")) {
    NIBBLE_RETURN_IF_ERROR(RequireParam(params, "g_idx", {params.n}));
    for (int64_t i = 0; i < params.n; ++i) {
      if (static_cast<int64_t>(LoadScalar(map.dtype, map.data, i)) == (checked.group ? i / checked.group : 0)) continue;
      return Unsupported("{}: an embedding whose rows are grouped out of order (entry {}); only plain groups of {} rows are read",
                         ParamName(params, "g_idx"), i, checked.group);
    }
  }
  Coded coded;
  coded.codes = Stream(layout, checked.qweight.Transpose(0, 1), StreamAxis::kAlongN);
  coded.scale.data = checked.scales;
  coded.scale.block_n = checked.group;
  coded.scale.block_k = 1;
  coded.zero_default = static_cast<float>(1 << (layout.bits - 1));
  if (const TensorView zeros = params.View("qzeros")) {
    coded.zero.emplace();
    coded.zero->block_n = checked.group;
    coded.zero->block_k = 1;
    coded.zero->packed = Stream(layout, zeros, StreamAxis::kAlongK);
    coded.zero->packed_bias = Bias(layout);
  }
  weight.body = std::move(coded);
  return FinishPart(std::move(weight));
}

}  // namespace nibble
