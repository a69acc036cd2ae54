// SPDX-License-Identifier: Apache-2.0
#include "methods/torchao/tensors.h"

#include <algorithm>

#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "formats/packing/swizzle.h"
#include "formats/packing/tinygemm.h"
#include "methods/block_float_weight.h"
#include "methods/fp8_weight.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr std::string_view kCodes = "_weight_qdata", kTorchaoScale = "_weight_scale", kTorchaoZero = "_weight_zero_point",
                           kScaleAndZero = "_weight_scale_and_zero", kPreScale = "_weight_act_pre_scale",
                           kActScale = "_weight_act_quant_scale", kActZero = "_weight_act_quant_zero_point",
                           kGlobal = "_weight_per_tensor_scale", kActGlobal = "_weight_act_per_tensor_scale";

// The blocks of scales, with 0 for the whole extent as planes have it.
struct TorchaoBlocks {
  int64_t n = 0, k = 0, rows = 1, columns = 1;
};
Result<TorchaoBlocks> TorchaoBlocksOf(const BoundParams& params, const TorchaoTensor& tensor) {
  const int64_t n = tensor.block_n > 0 ? tensor.block_n : params.n, k = tensor.block_k > 0 ? tensor.block_k : params.k;
  if (n > params.n || k > params.k || params.n % n != 0 || params.k % k != 0)
    return Corrupt("{}: block_size [{},{}] does not divide the weight [{},{}]", ParamName(params, kCodes), n, k, params.n,
                   params.k);
  return TorchaoBlocks{n == params.n ? 0 : n, k == params.k ? 0 : k, params.n / n, params.k / k};
}

// Scales or zero points [rows, columns] of the blocks. A row of a matrix with one row is a block of one row.
Result<Plane> BlockPlane(const BoundParams& params, std::string_view suffix, const TorchaoBlocks& blocks) {
  NIBBLE_TRY(TensorView view, RequireParam(params, suffix, {blocks.rows, blocks.columns}));
  return Plane{.data = view, .block_n = blocks.n, .block_k = blocks.k};
}

bool AllBytesZero(const TensorView& view) {
  return view.contiguous() && std::all_of(view.data, view.data + view.size_bytes(), [](std::byte b) { return b == std::byte{0}; });
}

// Integer zero points are packed like codes: the same shift of both leaves u - Z alone. Real ones are shifted in a copy.
Status SetZero(Plane plane, int bits, StoredWeight& weight, Coded& coded) {
  const int shift = 1 << (bits - 1);
  coded.zero_default = static_cast<float>(shift);
  if (AllBytesZero(plane.data)) return {};
  if (plane.data.dtype == DType::kI8) {
    plane.packed = ByteCodes(plane.data, bits, shift);
  } else {
    Tensor shifted(DType::kF32, plane.data.shape);
    for (int64_t i = 0; i < plane.data.elems(); ++i)
      shifted.as<float>()[i] = LoadScalar(plane.data.dtype, plane.data.data, i) + static_cast<float>(shift);
    plane.data = shifted.view;
    weight.keep.push_back(shifted.bytes);
  }
  coded.zero = std::move(plane);
  return {};
}

// Int8Tensor and IntxUnpackedToInt8Tensor: one int8 a code, W = (q - zero) * scale.
Result<StoredWeight> MakeBytes(const BoundParams& params, const TorchaoTensor& tensor) {
  StoredWeight weight = StartWeight(params, "int_group", kCodes);
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, kCodes, {params.n, params.k}));
  if (bytes.dtype != DType::kI8) return Corrupt("{} is {}, wanted i8", ParamName(params, kCodes), DTypeName(bytes.dtype));
  NIBBLE_TRY(const TorchaoBlocks blocks, TorchaoBlocksOf(params, tensor));
  Coded coded;
  coded.codes = ByteCodes(bytes, tensor.bits, 1 << (tensor.bits - 1));
  NIBBLE_TRY(coded.scale, BlockPlane(params, kTorchaoScale, blocks));
  coded.zero_default = static_cast<float>(1 << (tensor.bits - 1));
  if (params.Find(kTorchaoZero)) {
    NIBBLE_TRY(Plane zero, BlockPlane(params, kTorchaoZero, blocks));
    NIBBLE_RETURN_IF_ERROR(SetZero(std::move(zero), tensor.bits, weight, coded));
  }
  weight.body = std::move(coded);
  return weight;
}

// [groups, n] as [n, groups].
Result<TensorView> Transposed(const BoundParams& params, std::string_view suffix, int64_t groups) {
  NIBBLE_TRY(const TensorView view, RequireParam(params, suffix, {groups, params.n}));
  return view.Transpose(0, 1);
}

// W = (code - 8) * scale + zero, both [n, groups]. The additive term of the plain codes is zero - 8 * scale: exact in f32 for every
// pair of 8-bit mantissas less than 2^16 apart.
void AddScaleAndZero(const TensorView& scale, const TensorView& zero, int64_t group, StoredWeight& weight, Coded& coded) {
  coded.scale = Plane{.data = scale, .block_k = group};
  const int64_t rows = zero.dim(0), columns = zero.dim(1);
  Tensor bias(DType::kF32, {rows, columns});
  bool symmetric = true;
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t g = 0; g < columns; ++g) {
      const float z = LoadScalar(zero.dtype, zero.data, n * zero.stride[0] + g * zero.stride[1]);
      const float s = LoadScalar(scale.dtype, scale.data, n * scale.stride[0] + g * scale.stride[1]);
      bias.as<float>()[n * columns + g] = z - 8 * s;
      symmetric = symmetric && z == 0;
    }
  coded.zero_default = 8;
  if (symmetric) return;
  coded.rule = ValueRule::kIntPlusBias;
  coded.zero = Plane{.data = bias.view, .block_k = group};
  weight.keep.push_back(bias.bytes);
}

// Int4Tensor: two codes a byte, low nibble first, two's complement; W = q * scale + zero, the codes are read as q + 8.
Result<StoredWeight> MakeInt4(const BoundParams& params, const TorchaoTensor& tensor) {
  if (params.k % 2 != 0) return Corrupt("{}: {} columns, wanted an even number", ParamName(params, kCodes), params.k);
  StoredWeight weight = StartWeight(params, "int_group", kCodes);
  NIBBLE_TRY(TensorView bytes, RequireParam(params, kCodes, {params.n, params.k / 2}));
  NIBBLE_TRY(const TorchaoBlocks blocks, TorchaoBlocksOf(params, tensor));
  NIBBLE_TRY(const TensorView scale, Transposed(params, kTorchaoScale, blocks.columns));
  NIBBLE_TRY(const TensorView zero, Transposed(params, kTorchaoZero, blocks.columns));
  // Flipping the top bit of a nibble adds 8.
  Tensor flipped(DType::kU8, bytes.shape);
  std::transform(bytes.data, bytes.data + bytes.size_bytes(), flipped.as<std::byte>(),
                 [](std::byte b) { return b ^ std::byte{0x88}; });
  weight.keep.push_back(flipped.bytes);
  Coded coded;
  coded.codes = DenseStream(flipped.view, 4, StreamAxis::kAlongK);
  AddScaleAndZero(scale, zero, blocks.k, weight, coded);
  weight.body = std::move(coded);
  return weight;
}

// Int4TilePackedTo4dTensor: codes 0..15 in tiles of a matrix that was padded to [8, 1024], scale_and_zero [groups, n, 2] of it;
// W = (code - 8) * scale + zero.
Result<StoredWeight> MakeInt4Tiles(const BoundParams& params, const TorchaoTensor& tensor) {
  StoredWeight weight = StartWeight(params, "int_group", kCodes);
  NIBBLE_TRY(const TensorView words, RequireRank(params, kCodes, 4));
  const int64_t tiles = 2 * words.dim(3), n = 8 * words.dim(0), k = 16 * tiles * words.dim(1), group = tensor.block_k;
  if (DTypeBytes(words.dtype) != 4 || words.dim(2) != 32 || !words.contiguous() || n < params.n || k < params.k)
    return Corrupt("{} is {} {}, wanted i32 [{}, columns, 32, tiles/2] for a weight [{},{}]", ParamName(params, kCodes),
                   DTypeName(words.dtype), words.shape.ToString(), CeilDiv(params.n, 8), params.n, params.k);
  if (group < 1 || k % group != 0 || (tensor.block_n > 1))
    return Corrupt("{}: block_size [{},{}], wanted [1, a divisor of {}]", ParamName(params, kCodes), tensor.block_n, group, k);
  NIBBLE_TRY(const TensorView both, RequireParam(params, kScaleAndZero, {k / group, n, 2}));
  const TensorView scale = both.Select(2, 0).Transpose(0, 1).Slice(0, 0, params.n),
                   zero = both.Select(2, 1).Transpose(0, 1).Slice(0, 0, params.n);
  Coded coded;
  coded.codes = TinygemmTiles(words);
  AddScaleAndZero(scale, zero, group, weight, coded);
  weight.body = std::move(coded);
  return weight;
}

// Int4PlainInt32Tensor as XPUs have it: i32 [n, k/8], codes 0..15 from the lowest bits, integer zero points [groups, n].
Result<StoredWeight> MakeInt4Words(const BoundParams& params, const TorchaoTensor& tensor) {
  StoredWeight weight = StartWeight(params, "int_group", kCodes);
  NIBBLE_TRY(const TensorView words, RequireParam(params, kCodes, {params.n, CeilDiv(params.k, 8)}));
  NIBBLE_TRY(const TorchaoBlocks blocks, TorchaoBlocksOf(params, tensor));
  NIBBLE_TRY(const TensorView scale, Transposed(params, kTorchaoScale, blocks.columns));
  NIBBLE_TRY(const TensorView zero, Transposed(params, kTorchaoZero, blocks.columns));
  if (zero.dtype != DType::kI8 && zero.dtype != DType::kU8)
    return Unsupported("{} is {}: the form for NPUs; readable is that for XPUs, i8", ParamName(params, kTorchaoZero),
                       DTypeName(zero.dtype));
  Coded coded;
  coded.codes = DenseStream(words, 4, StreamAxis::kAlongK);
  coded.scale = Plane{.data = scale, .block_k = blocks.k};
  coded.zero = Plane{.data = zero, .block_k = blocks.k};
  weight.body = std::move(coded);
  return weight;
}

Result<StoredWeight> MakeFloat8(const BoundParams& params, const TorchaoTensor& tensor) {
  NIBBLE_TRY(const TorchaoBlocks blocks, TorchaoBlocksOf(params, tensor));
  return MakeFp8Weight(params, {.block_n = blocks.n == 0 ? params.n : blocks.n,
                                .block_k = blocks.k,
                                .scale_suffix = kTorchaoScale,
                                .weight_suffix = kCodes});
}

// One-byte scales of `group` columns each, in either order, as [n, k / group] of dtype `meaning`.
Result<Plane> BlockScales(const BoundParams& params, const TorchaoTensor& tensor, DType meaning, StoredWeight& weight) {
  const int64_t group = tensor.block_k;
  if (group < 1 || params.k % group != 0)
    return Corrupt("{}: blocks of {} do not divide {} columns", ParamName(params, kTorchaoScale), group, params.k);
  const int64_t columns = params.k / group;
  TensorView scales = params.View(kTorchaoScale);
  if (DTypeBytes(scales.dtype) != 1)
    return Corrupt("{} is {}, wanted {}", ParamName(params, kTorchaoScale), DTypeName(scales.dtype), DTypeName(meaning));
  if (!tensor.swizzled) {
    NIBBLE_TRY(scales, RequireParam(params, kTorchaoScale, {params.n, columns}));
  } else {
    if (!scales.contiguous() || scales.size_bytes() != SwizzledScaleBytes(params.n, columns))
      return Corrupt("{} is {}, wanted {} bytes for [{},{}] in tiles of 128 x 4", ParamName(params, kTorchaoScale),
                     scales.shape.ToString(), SwizzledScaleBytes(params.n, columns), params.n, columns);
    const Tensor plain = UnswizzleScales(scales, params.n, columns);
    weight.keep.push_back(plain.bytes);
    scales = plain.view;
  }
  scales.dtype = meaning;
  return Plane{.data = scales, .block_k = group};
}

// MXTensor and NVFP4Tensor.
Result<StoredWeight> MakeBlockFloat(const BoundParams& params, const TorchaoTensor& tensor) {
  const bool nvfp4 = tensor.type == "NVFP4Tensor";
  const DType element = nvfp4 ? DType::kE2M1 : tensor.element;
  StoredWeight weight = StartWeight(params, "block_float", kCodes);
  Coded coded;
  if (element == DType::kE2M3 || element == DType::kE3M2) {  // a byte each
    NIBBLE_TRY(const TensorView bytes, RequireParam(params, kCodes, {params.n, params.k}));
    coded.codes = ByteCodes(bytes, 6, 0);
    coded.rule = ValueRule::kFloat;
    coded.float_type = element;
  } else {
    NIBBLE_TRY(coded, MakeBlockFloatCodes(params, {.element = element, .codes = kCodes}));
  }
  NIBBLE_TRY(coded.scale, BlockScales(params, tensor, nvfp4 ? DType::kE4M3 : DType::kE8M0, weight));
  if (params.Find(kGlobal)) {
    NIBBLE_RETURN_IF_ERROR(ScalarParam(params, kGlobal));
    coded.scale2 = Plane{.data = AsMatrix(params.View(kGlobal)), .block_n = 0};
  }
  weight.body = std::move(coded);
  return weight;
}

// Extents as the codes tell, where the caller leaves them open.
BoundParams WithShape(const BoundParams& params, const TorchaoTensor& tensor) {
  if (tensor.type == "Int4TilePackedTo4dTensor") {  // the tiles know only the padded shape
    const TensorView words = params.View(kCodes);
    BoundParams known = params;
    if (known.n == 0) known.n = tensor.n > 0 ? tensor.n : words.rank() == 4 ? 8 * words.dim(0) : 0;
    if (known.k == 0) known.k = tensor.k > 0 ? tensor.k : words.rank() == 4 ? 32 * words.dim(1) * words.dim(3) : 0;
    return known;
  }
  StoredExtent extent{.suffix = kCodes};
  const bool nibbles = tensor.type == "Int4Tensor" || tensor.type == "NVFP4Tensor" || tensor.element == DType::kE2M1;
  if (nibbles) extent.column_num = 2;
  if (tensor.type == "Int4PlainInt32Tensor") extent.column_num = 8;
  return WithStoredShape(params, extent);
}

struct Type {
  std::string_view name;
  Result<StoredWeight> (*make)(const BoundParams&, const TorchaoTensor&);
};
constexpr Type kTypes[] = {{"Int8Tensor", MakeBytes},
                           {"IntxUnpackedToInt8Tensor", MakeBytes},
                           {"Int4Tensor", MakeInt4},
                           {"Int4TilePackedTo4dTensor", MakeInt4Tiles},
                           {"Int4PlainInt32Tensor", MakeInt4Words},
                           {"Float8Tensor", MakeFloat8},
                           {"PrototypeFloat8Tensor", MakeFloat8},
                           {"MXTensor", MakeBlockFloat},
                           {"NVFP4Tensor", MakeBlockFloat}};

// x *= act_pre_scale, a vector or one number.
Status AddPreScale(const BoundParams& params, StoredWeight& weight) {
  if (!params.Find(kPreScale)) return {};
  TensorView scale = params.View(kPreScale);
  if (scale.elems() != 1 && scale.elems() != weight.k)
    return Corrupt("{} is {}, wanted [{}]", ParamName(params, kPreScale), scale.shape.ToString(), weight.k);
  const bool one = scale.elems() == 1 && weight.k != 1;
  scale = TensorView(scale.data, scale.dtype, {weight.k});
  if (one) scale.stride[0] = 0;
  weight.in.push_back({.kind = Transform::kScale, .data = scale});
  return {};
}

Result<ActivationSpec> Activations(const BoundParams& params, const TorchaoTensor& tensor) {
  ActivationSpec act = tensor.act;
  if (act.scale_code == ActivationSpec::kE4M3 && act.global != 0 && params.Find(kActGlobal)) {
    NIBBLE_TRY(act.global, ScalarParam(params, kActGlobal));
  }
  if (act.grain == ActivationSpec::kNone || !params.Find(kActScale)) return act;
  act.grain = ActivationSpec::kTensor;
  act.dynamic = false;
  NIBBLE_TRY(act.scale, ScalarParam(params, kActScale));
  if (params.Find(kActZero)) {
    NIBBLE_TRY(act.zero, ScalarParam(params, kActZero));
  }
  return act;
}

}  // namespace

std::vector<ParamDecl> TorchaoParams() {
  const std::vector<DType> floats = {DType::kF32, DType::kBF16, DType::kF16};
  std::vector<DType> scales = floats, zeros = floats;
  scales.insert(scales.end(), {DType::kE8M0, DType::kE4M3, DType::kU8});
  zeros.insert(zeros.end(), {DType::kI8, DType::kU8});
  const std::vector<DType> codes = {DType::kI8, DType::kU8, DType::kI32, DType::kE4M3, DType::kE5M2};
  return {{kCodes, codes, ParamDecl::kPacked, true},           {kTorchaoScale, scales, ParamDecl::kGroupScale, false},
          {kTorchaoZero, zeros, ParamDecl::kZeroPoint, false}, {kScaleAndZero, floats, ParamDecl::kGroupScale, false},
          {kPreScale, floats, ParamDecl::kTransform, false},   {kActScale, floats, ParamDecl::kTensorScale, false},
          {kActZero, zeros, ParamDecl::kTensorScale, false},   {kGlobal, floats, ParamDecl::kTensorScale, false},
          {kActGlobal, floats, ParamDecl::kTensorScale, false}};
}

std::string TorchaoTypes() {
  std::string names;
  for (const Type& type : kTypes) names += fmt::format("{}{}", names.empty() ? "" : ", ", type.name);
  return names;
}

Result<LinearPart> MakeTorchaoWeight(const BoundParams& bound, const TorchaoTensor& tensor) {
  const auto type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& t) { return t.name == tensor.type; });
  if (type == std::end(kTypes))
    return Unsupported("{}: tensor subclass \"{}\"; readable are {}", ParamName(bound, kCodes), tensor.type, TorchaoTypes());
  const BoundParams params = WithShape(bound, tensor);
  NIBBLE_TRY(StoredWeight weight, type->make(params, tensor));
  NIBBLE_RETURN_IF_ERROR(AddPreScale(params, weight));
  NIBBLE_TRY(const ActivationSpec act, Activations(params, tensor));
  return FinishPart(std::move(weight), act);
}

}  // namespace nibble
