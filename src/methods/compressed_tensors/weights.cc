// SPDX-License-Identifier: Apache-2.0
#include "methods/compressed_tensors/weights.h"

#include "base/log.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "methods/block_float_weight.h"
#include "methods/fp8_weight.h"
#include "methods/marlin_weight.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct CtBlocks {
  int64_t n = 1, k = 0;
};
CtBlocks CtBlocksOf(const CtArgs& args) {
  if (args.strategy == CtArgs::kGroup || args.strategy == CtArgs::kTensorGroup) return {1, args.group_size};
  if (args.strategy == CtArgs::kBlock) return {args.block_n, args.block_k};
  return {1, 0};  // tensor and channel: the shape of the scale tells
}

Result<Plane> Scale(const BoundParams& params, const CtArgs& args) {
  const CtBlocks blocks = CtBlocksOf(args);
  return ScalePlane(params, "weight_scale", blocks.n, blocks.k);
}

// int8 zero points [rows of the scale, groups], shifted like the codes.
Result<std::optional<Plane>> ByteZeros(const BoundParams& params, const CtArgs& args) {
  const CtBlocks blocks = CtBlocksOf(args);
  NIBBLE_TRY(Plane zero, ScalePlane(params, "weight_zero_point", blocks.n, blocks.k));
  zero.packed = ByteCodes(zero.data, static_cast<int>(args.bits), 1 << (args.bits - 1));
  zero.data = {};
  return std::optional(zero);
}

// i32 zero points packed along n: [words of n, groups].
Result<std::optional<Plane>> PackedZeros(const BoundParams& params, const CtArgs& args, const Plane& scale) {
  const int bits = static_cast<int>(args.bits);
  const int64_t groups = scale.data.dim(1), dense = DenseStreamWords(params.n, bits), by_words = WordStreamWords(params.n, bits);
  NIBBLE_TRY(const TensorView words, RequireRank(params, "weight_zero_point", 2));
  if (words.dim(1) != groups || (words.dim(0) != dense && words.dim(0) != by_words) || scale.block_n == 0) {
    return Corrupt("{} is {}, wanted [{},{}] for {} rows and scales {}", ParamName(params, "weight_zero_point"),
                   words.shape.ToString(), dense, groups, params.n, scale.data.shape.ToString());
  }
  Plane zero;
  zero.block_n = scale.block_n;
  zero.block_k = scale.block_k;
  zero.packed = (words.dim(0) == dense ? DenseStream : WordStream)(words.Transpose(0, 1), bits, StreamAxis::kAlongN);
  return std::optional(zero);
}

Result<std::optional<Plane>> Zeros(const BoundParams& params, const CtArgs& args, const Plane& scale) {
  const TensorView stored = params.View("weight_zero_point");
  if (!stored) {
    if (args.symmetric) return std::optional<Plane>();
    return Corrupt("{} is missing, but the scheme is asymmetric", ParamName(params, "weight_zero_point"));
  }
  if (stored.dtype == DType::kE4M3)
    return Corrupt("{} is e4m3, wanted i8 or i32 for integer weights", ParamName(params, "weight_zero_point"));
  return DTypeBytes(stored.dtype) == 1 ? ByteZeros(params, args) : PackedZeros(params, args, scale);
}

Status CheckStoredShape(const BoundParams& params) {
  const TensorView shape = params.View("weight_shape");
  if (!shape || shape.elems() != 2) return {};
  const float n = LoadScalar(shape.dtype, shape.data, 0), k = LoadScalar(shape.dtype, shape.data, 1);
  if (n == static_cast<float>(params.n) && k == static_cast<float>(params.k)) return {};
  return Corrupt("{} says [{},{}], the model wants [{},{}]", ParamName(params, "weight_shape"), n, k, params.n, params.k);
}

// weight_shape where it is stored, else what the words can hold.
BoundParams WithPackedShape(const BoundParams& bound, const CtArgs& args) {
  const TensorView shape = bound.View("weight_shape");
  if (bound.n != 0 || !shape || shape.elems() != 2) {
    return WithStoredShape(bound, {.suffix = "weight_packed", .column_num = 32, .column_den = args.bits});
  }
  const float n = LoadScalar(shape.dtype, shape.data, 0), k = LoadScalar(shape.dtype, shape.data, 1);
  BoundParams params = bound;
  if (n > 0 && k > 0 && n < 0x1p24f && k < 0x1p24f) {  // exact; CheckStoredShape refuses the rest
    params.n = static_cast<int64_t>(n);
    params.k = static_cast<int64_t>(k);
  }
  return params;
}

Result<StoredWeight> Finish(const BoundParams& params, const CtArgs& args, StoredWeight weight, CodeSource codes) {
  Coded coded;
  coded.codes = codes;
  coded.zero_default = static_cast<float>(1 << (args.bits - 1));
  NIBBLE_TRY(coded.scale, Scale(params, args));
  NIBBLE_TRY(coded.zero, Zeros(params, args, coded.scale));
  NIBBLE_TRY(coded.group_of_k, GroupMap(params, "weight_g_idx", coded.scale.block_k, coded.scale.data.dim(1), weight));
  weight.body = std::move(coded);
  return weight;
}

DType FloatOf(int64_t bits) {
  return bits == 4 ? DType::kE2M1 : bits == 6 ? DType::kE2M3 : bits == 8 ? DType::kE4M3 : DType::kNone;
}

}  // namespace

Result<StoredWeight> MakePackedInts(const BoundParams& bound, const CtArgs& args) {
  if (args.is_float || args.bits < 2)
    return Unsupported("{}: pack-quantized weights that are no integers of 2 to 8 bits", bound.name);
  const BoundParams params = WithPackedShape(bound, args);
  NIBBLE_RETURN_IF_ERROR(CheckStoredShape(params));
  const int bits = static_cast<int>(args.bits);
  NIBBLE_TRY(const TensorView words, RequireRank(params, "weight_packed", 2));
  const int64_t dense = DenseStreamWords(params.k, bits), by_words = WordStreamWords(params.k, bits);
  if (words.dim(0) != params.n || (words.dim(1) != dense && words.dim(1) != by_words)) {
    return Corrupt("{} is {}, wanted [{},{}] or [{},{}] for {}-bit codes of [{},{}]", ParamName(params, "weight_packed"),
                   words.shape.ToString(), params.n, dense, params.n, by_words, bits, params.n, params.k);
  }
  const auto stream = words.dim(1) == dense ? DenseStream : WordStream;
  return Finish(params, args, StartWeight(params, "int_group", "weight_packed"), stream(words, bits, StreamAxis::kAlongK));
}

Result<StoredWeight> MakeInts(const BoundParams& bound, const CtArgs& args) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight", {params.n, params.k}));
  if (bytes.dtype != DType::kI8) return Corrupt("{} is {}, wanted i8", ParamName(params, "weight"), DTypeName(bytes.dtype));
  return Finish(params, args, StartWeight(params, "int_group", "weight"),
                ByteCodes(bytes, static_cast<int>(args.bits), 1 << (args.bits - 1)));
}

Result<StoredWeight> MakeFloats(const BoundParams& params, const CtArgs& args) {
  if (args.bits != 8) return Unsupported("{}: float weights of {} bits", params.name, args.bits);
  if (!args.symmetric) return Corrupt("{}: float weights cannot be asymmetric", params.name);
  const CtBlocks blocks = CtBlocksOf(args);
  return MakeFp8Weight(params, {.block_n = blocks.n, .block_k = blocks.k});
}

bool IsBlockFloat(const CtArgs& args) {
  return args.is_float && (args.bits != 8 || args.strategy == CtArgs::kTensorGroup || args.scale_dtype == "torch.uint8");
}

Result<StoredWeight> MakeBlockFloats(const BoundParams& params, const CtArgs& args) {
  const DType element = FloatOf(args.bits);
  if (element == DType::kNone || !args.symmetric) {
    return Unsupported("{}: {}float weights of {} bits; known are 4, 6 and 8", params.name, args.symmetric ? "" : "asymmetric ",
                       args.bits);
  }
  const bool two_level = args.strategy == CtArgs::kTensorGroup;
  return MakeBlockFloatWeight(params, {.element = element,
                                       .group = args.group_size,
                                       .codes = args.bits == 8 ? "weight" : "weight_packed",
                                       .global = two_level ? "weight_global_scale" : "",
                                       .global_divides = true,
                                       .e8m0 = !two_level});
}

Result<StoredWeight> MakeMarlin24(const BoundParams& params, const CtArgs& args) {
  if (args.is_float || !args.symmetric) return Unsupported("{}: marlin-24 holds symmetric integers", params.name);
  return MakeMarlin24Weight(params, {.bits = static_cast<int>(args.bits),
                                     .group_size = args.group_size,
                                     .codes = "weight_packed",
                                     .scales = "scale_packed",
                                     .meta = "meta"});
}

Result<ActivationSpec> MakeActivations(const BoundParams& params, const std::optional<CtArgs>& inputs, const std::string& side) {
  const std::string scale = side + "_scale", zero = side + "_zero_point", global = side + "_global_scale";
  ActivationSpec act;
  if (!inputs) return act;
  const CtArgs& args = *inputs;
  const DType element = FloatOf(args.bits);
  if (args.is_float ? element == DType::kNone || !args.symmetric : args.bits < 2) {
    return Unsupported("{}: activations of {} bits, {}{}", params.name, args.bits, args.is_float ? "float" : "int",
                       args.symmetric ? "" : ", asymmetric");
  }
  act.code = args.is_float ? element : DType::kI8;
  act.bits = static_cast<int>(args.bits);
  act.symmetric = args.symmetric;
  act.rule = ActivationSpec::kCompressedTensors;
  act.dynamic = args.dynamic != CtArgs::kStatic;
  switch (args.strategy) {
    case CtArgs::kTensor: act.grain = ActivationSpec::kTensor; break;
    case CtArgs::kToken: act.grain = ActivationSpec::kToken; break;
    case CtArgs::kGroup:
    case CtArgs::kTensorGroup: act.grain = ActivationSpec::kGroup; break;
    default: return Unsupported("{}: activations quantized by {}", params.name, static_cast<int>(args.strategy));
  }
  act.group = act.grain == ActivationSpec::kGroup ? static_cast<int>(args.group_size) : 0;
  if (args.strategy == CtArgs::kTensorGroup) {
    act.scale_code = ActivationSpec::kE4M3;
    NIBBLE_TRY(act.global, ScalarParam(params, global));
  } else if (IsBlockFloat(args)) {
    act.scale_code = ActivationSpec::kPow2Even;
  }
  if (act.dynamic) {
    if (IsRunnable(act)) return act;
    return Corrupt("{} is {}, wanted a positive number", ParamName(params, global), act.global);
  }
  if (act.grain != ActivationSpec::kTensor) return Unsupported("{}: static activation scales that are not per tensor", params.name);
  if (!params.Find(scale)) {
    Warn("{}: static activation quantization, but no {}: scales are computed per token", params.name, scale);
    act.grain = ActivationSpec::kToken;
    act.dynamic = true;
    return act;
  }
  NIBBLE_TRY(act.scale, ScalarParam(params, scale));
  if (params.Find(zero)) {
    NIBBLE_TRY(act.zero, ScalarParam(params, zero));
  }
  return act;
}

}  // namespace nibble
