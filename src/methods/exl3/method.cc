// SPDX-License-Identifier: Apache-2.0
// EXL3 checkpoints of ExLlamaV3: trellis-coded matrices between Hadamard rotations of blocks of 128. Everything about a module is
// in its tensors; the config only gives totals.
#include "methods/param_checks.h"
#include "methods/registry.h"
#include "methods/trellis_weight.h"

namespace nibble {
namespace {

constexpr int64_t kBlock = 128;

class Exl3Method : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> words = {DType::kI16, DType::kU16}, scales = {DType::kF16, DType::kBF16, DType::kF32},
                             flags = {DType::kI32, DType::kU32, DType::kI64};
    return {{"trellis", words, ParamDecl::kPacked, true},  {"suh", scales, ParamDecl::kTransform, false},
            {"svh", scales, ParamDecl::kTransform, false}, {"su", words, ParamDecl::kTransform, false},
            {"sv", words, ParamDecl::kTransform, false},   {"mcg", flags, ParamDecl::kMeta, false},
            {"mul1", flags, ParamDecl::kMeta, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    BoundParams params = bound;
    NIBBLE_TRY(const TensorView tiles, RequireRank(params, "trellis", 3));
    const int64_t bits = tiles.dim(2) / 16;
    if (tiles.dim(2) % 16 != 0 || bits < 1 || bits > 8)
      return Corrupt("{} is {}, wanted [k/16, n/16, 16 * bits]", ParamName(params, "trellis"), tiles.shape.ToString());
    if (params.n == 0) params.n = tiles.dim(1) * kTrellisTile;
    if (params.k == 0) params.k = tiles.dim(0) * kTrellisTile;
    if (params.n % kBlock != 0 || params.k % kBlock != 0)
      return Unsupported("{}: a weight [{},{}]; matrices that were padded to multiples of {} are not readable",
                         ParamName(params, "trellis"), params.n, params.k, kBlock);
    if (params.Find("mcg") && params.Find("mul1"))
      return Corrupt("{} and mul1 are both present; a module has one codebook", ParamName(params, "mcg"));
    const TrellisCode code = params.Find("mcg")    ? TrellisCode::kMcg
                             : params.Find("mul1") ? TrellisCode::kMul1
                                                   : TrellisCode::k3Inst;
    NIBBLE_TRY(StoredWeight weight,
               MakeTrellisWeight(params, {.code = code, .order = TrellisOrder::kExl3, .bits = static_cast<int>(bits)}));
    NIBBLE_TRY(const Transform scale_in, Signs(params, "suh", "su", params.k, weight));
    NIBBLE_TRY(const Transform scale_out, Signs(params, "svh", "sv", params.n, weight));
    const Transform rotation{.kind = Transform::kHadamard, .block = kBlock};
    weight.in = {scale_in, rotation};
    weight.out = {rotation, scale_out};
    return FinishPart(std::move(weight));
  }

 private:
  // Scales, or in older files signs: bit j of word w belongs to element 16 w + j, 1 is minus.
  static Result<Transform> Signs(const BoundParams& params, std::string_view scales, std::string_view bits, int64_t size,
                                 StoredWeight& weight) {
    if (params.Find(scales) || !params.Find(bits)) return ScaleTransform(params, scales, size);
    NIBBLE_TRY(const TensorView words, RequireParam(params, bits, {size / 16}));
    Tensor signs(DType::kF32, {size});
    for (int64_t i = 0; i < size; ++i) {
      const auto byte = std::to_integer<unsigned>(words.data[i / 16 * words.stride[0] * 2 + i % 16 / 8]);
      signs.as<float>()[i] = byte >> (i % 8) & 1 ? -1.0f : 1.0f;
    }
    weight.keep.push_back(signs.bytes);
    return Transform{.kind = Transform::kScale, .data = signs.view};
  }
};

class Exl3QuantizationConfig : public QuantizationConfig {
 public:
  Exl3QuantizationConfig(double bits, double head_bits) : bits_(bits), head_bits_(head_bits) {}
  std::string_view name() const override { return "exl3"; }
  std::string Describe() const override { return fmt::format("exl3 {} bits, head {}", bits_, head_bits_); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.has ? !layer.has("trellis") : EstimateBits(layer) == 0) return nullptr;
    return std::make_shared<const Exl3Method>();
  }
  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kLmHead) return head_bits_;
    return layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kExpert ? bits_ : 0;
  }

 private:
  double bits_, head_bits_;
};

Result<std::unique_ptr<QuantizationConfig>> Exl3FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, source.where, {"quant_method", "bits", "head_bits"},
                                   {"version", "calibration", "out_scales", "codebook", "tensor_storage", "original_path", "meta",
                                    "format", "checkpoint_format", "method", "lm_head", "group_size", "desc_act", "sym"}));
  NIBBLE_TRY_IN(source.where, const double bits, JsonNumber(json, "bits", 0.0));
  NIBBLE_TRY_IN(source.where, const double head_bits, JsonNumber(json, "head_bits", bits));
  return std::make_unique<Exl3QuantizationConfig>(bits, head_bits);
}

}  // namespace

const QuantizationEntry* exl3_method() {
  static const QuantizationEntry entry = {.name = "exl3",
                                          .quant_methods = {"exl3"},
                                          .summary = "EXL3 of ExLlamaV3: trellis codes 3inst, mcg, mul1, 1 to 8 bits by module",
                                          .formats = {"trellis"},
                                          .from_config = Exl3FromConfig};
  return &entry;
}

}  // namespace nibble
