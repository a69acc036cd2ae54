// SPDX-License-Identifier: Apache-2.0
// NVIDIA ModelOpt: what its exported tensors mean, by the algorithm of each layer. Group and block sizes follow from the shapes.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/log.h"
#include "formats/packing/bytes.h"
#include "formats/transform.h"
#include "methods/block_float_weight.h"
#include "methods/fp8_weight.h"
#include "methods/int4_weight.h"
#include "methods/kv_scales.h"
#include "methods/modelopt/config.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

using A = ModelOptAlgo;

constexpr std::string_view kLoraA = "weight_quantizer._svdquant_lora_a", kLoraB = "weight_quantizer._svdquant_lora_b";

// The block that one element of the scales covers along k (or along n), from its shape; 0: all.
int64_t BlockOf(int64_t size, int64_t scales) { return scales > 1 ? CeilDiv(size, scales) : 0; }

// e4m3 bytes; scales [] [n] or [ceil(n/b), 1, ceil(k/b), 1].
Result<StoredWeight> Fp8Weight(const BoundParams& bound) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
  const TensorView scale = AsMatrix(params.View("weight_scale"));
  Fp8Layout layout;
  if (scale.rank() == 2 && scale.dim(1) > 0 && scale.dim(0) > 0 && scale.dim(0) != params.n) {
    constexpr int64_t kUsual = 128;
    const bool usual = scale.dim(0) == CeilDiv(params.n, kUsual) && scale.dim(1) == CeilDiv(params.k, kUsual);
    layout.block_n = usual ? kUsual : CeilDiv(params.n, scale.dim(0));
    layout.block_k = usual ? kUsual : CeilDiv(params.k, scale.dim(1));
  }
  return MakeFp8Weight(params, layout);
}

Result<StoredWeight> Int8Weight(const BoundParams& bound) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight", {params.n, params.k}));
  StoredWeight weight = StartWeight(params, "int_group", "weight");
  Coded coded;
  coded.codes = ByteCodes(bytes, 8, 128);
  coded.zero_default = 128;
  NIBBLE_TRY(coded.scale, ScalePlane(params, "weight_scale", 1, 0));
  weight.body = std::move(coded);
  return weight;
}

// Two's complement, rows 2i and 2i + 1 in the nibbles of a byte; scales [n, groups].
Result<StoredWeight> Int4Weight(const BoundParams& bound) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "weight", .row_num = 2});
  if (params.n % 2 != 0) return Corrupt("{}: {} rows do not fill bytes of two", ParamName(params, "weight"), params.n);
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight", {params.n / 2, params.k}));
  const TensorView scale = AsMatrix(params.View("weight_scale"));
  if (scale.rank() != 2 || scale.dim(0) != params.n || scale.dim(1) < 1 || params.k % scale.dim(1) != 0) {
    return Corrupt("{} is {}, wanted [{}, a divisor of {}]", ParamName(params, "weight_scale"), scale.shape.ToString(), params.n,
                   params.k);
  }
  StoredWeight weight = StartWeight(params, "table", "weight");
  Coded coded = SignedNibbles(bytes.Transpose(0, 1), StreamAxis::kAlongN);
  NIBBLE_TRY(coded.scale, ScalePlane(params, "weight_scale", 1, BlockOf(params.k, scale.dim(1))));
  weight.body = std::move(coded);
  return weight;
}

// W4A8: integers times their scales are rounded to e4m3 numbers of units of weight_scale_2. Those are the codes of the weight, made
// as they are read: t[0] nibbles, t[1] scales, arg: the unit's bits, columns of a group.
void ReadRounded(const CodeSource& source, Range n, Range k, uint8_t* out) {
  constexpr int64_t kChunk = 256;
  const TensorView& scales = source.t[1];
  const float* values = SignedNibbleValues().as<float>();
  const float unit = std::bit_cast<float>(static_cast<uint32_t>(source.arg[0]));
  const CodeSource nibbles = DenseStream(source.t[0], 4, StreamAxis::kAlongN);
  uint8_t codes[kChunk];
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    for (int64_t begin = k.begin + source.k0; begin < k.end + source.k0; begin += kChunk) {
      const Range part{begin, std::min(begin + kChunk, k.end + source.k0)};
      nibbles.read(nibbles, {row, row + 1}, part, codes);
      for (int64_t i = 0; i < part.size(); ++i) {
        const int64_t group = (begin + i) / source.arg[1];
        const float scale = LoadScalar(scales.dtype, scales.data, row * scales.stride[0] + group * scales.stride[1]);
        *out++ = EncodeSmallFloat(DType::kE4M3, values[codes[i]] * scale / unit);
      }
    }
  }
}

Result<StoredWeight> RoundedInt4Weight(const BoundParams& params) {
  NIBBLE_TRY(StoredWeight weight, Int4Weight(params));
  if (!params.Find("weight_scale_2")) return weight;
  NIBBLE_TRY(const float unit, ScalarParam(params, "weight_scale_2"));
  if (!std::isfinite(unit) || unit <= 0)
    return Corrupt("{} is {}, wanted a positive number", ParamName(params, "weight_scale_2"), unit);
  const Coded ints = std::get<Coded>(weight.body);
  Coded coded;
  coded.codes = {.read = ReadRounded,
                 .t = {ints.codes.t[0], ints.scale.data},
                 .bits = 8,
                 .arg = {std::bit_cast<uint32_t>(unit), ints.scale.block_k > 0 ? ints.scale.block_k : weight.k, 0, 0}};
  coded.rule = ValueRule::kFloat;
  coded.float_type = DType::kE4M3;
  NIBBLE_TRY(coded.scale, ScalePlane(params, "weight_scale_2", 1, 0));
  weight.format = FindFormat("fp8");
  weight.body = std::move(coded);
  return weight;
}

class ModelOptLinearMethod : public LinearMethod {
 public:
  explicit ModelOptLinearMethod(const A& algo) : algo_(algo) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF32, DType::kBF16, DType::kF16};
    const std::vector<DType> scales = {DType::kF32, DType::kBF16, DType::kF16, DType::kE4M3, DType::kE8M0, DType::kU8};
    return {{"weight", {DType::kE4M3, DType::kI8, DType::kU8}, ParamDecl::kWeight, true},
            {"weight_scale", scales, ParamDecl::kGroupScale, true},
            {"weight_scale_2", floats, ParamDecl::kTensorScale, false},
            {"input_scale", floats, ParamDecl::kTensorScale, false},
            {"pre_quant_scale", floats, ParamDecl::kTransform, false},
            {kLoraA, floats, ParamDecl::kMeta, false},
            {kLoraB, floats, ParamDecl::kMeta, false},
            {"k_scale", floats, ParamDecl::kMeta, false},
            {"v_scale", floats, ParamDecl::kMeta, false},
            {"k_bias", floats, ParamDecl::kMeta, false},
            {"v_bias", floats, ParamDecl::kMeta, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    NIBBLE_TRY(StoredWeight weight, Weight(params));
    NIBBLE_RETURN_IF_ERROR(AddSmoothing(params, weight));
    NIBBLE_RETURN_IF_ERROR(AddLowRank(params, weight));
    NIBBLE_TRY(const ActivationSpec act, Activations(params, weight));
    return FinishPart(std::move(weight), act);
  }

 private:
  Result<StoredWeight> Weight(const BoundParams& params) const {
    switch (algo_.weights) {
      case A::kFp8: return Fp8Weight(params);
      case A::kInt8: return Int8Weight(params);
      case A::kInt4: return algo_.activations == A::kFp8Static ? RoundedInt4Weight(params) : Int4Weight(params);
      case A::kNvfp4: return MakeBlockFloatWeight(params, {.global = "weight_scale_2"});
      case A::kMxfp4: return MakeBlockFloatWeight(params, {.e8m0 = true});
      case A::kMxfp8: return MakeBlockFloatWeight(params, {.element = DType::kE4M3, .e8m0 = true});
    }
    return Unsupported("{}: weights of algorithm {}", params.name, algo_.name);
  }

  // AWQ and SmoothQuant: x is scaled before it is quantized, unless the factors went into the layer before.
  static Status AddSmoothing(const BoundParams& params, StoredWeight& weight) {
    if (!params.Find("pre_quant_scale")) return {};
    NIBBLE_TRY(const TensorView scale, RequireParam(params, "pre_quant_scale", {weight.k}));
    weight.in.push_back({.kind = Transform::kScale, .data = scale});
    return CheckTransforms(weight.in, weight.k);
  }

  // SVDQuant: what the codes hold is the rest of W after a product of two thin matrices.
  static Status AddLowRank(const BoundParams& params, StoredWeight& weight) {
    if (!params.Find(kLoraA) && !params.Find(kLoraB)) return {};
    NIBBLE_TRY(weight.lora_a, RequireRank(params, kLoraA, 2));
    NIBBLE_TRY(weight.lora_b, RequireParam(params, kLoraB, {weight.n, weight.lora_a.dim(0)}));
    return RequireParam(params, kLoraA, {weight.lora_a.dim(0), weight.k}).transform([](const TensorView&) {});
  }

  // Columns that share a scale of the weight share one of x (the settings name one group_size for both).
  static int GroupOf(const StoredWeight& weight) { return static_cast<int>(std::get<Coded>(weight.body).scale.block_k); }

  Result<ActivationSpec> Activations(const BoundParams& params, const StoredWeight& weight) const {
    ActivationSpec act{.grain = ActivationSpec::kTensor, .code = DType::kE4M3, .rule = ActivationSpec::kModelOpt};
    switch (algo_.activations) {
      case A::kFloat: return ActivationSpec{};
      case A::kFp8Token: act.grain = ActivationSpec::kToken; return act;
      case A::kMx:
        act.grain = ActivationSpec::kGroup;
        act.group = GroupOf(weight);
        act.scale_code = ActivationSpec::kPow2Up;
        if (algo_.weights == A::kMxfp4) act.code = DType::kE2M1;
        return act;
      default: break;
    }
    if (!params.Find("input_scale")) {
      // Never calibrated (the preset has no calibration): the tool takes the largest |x| of each call. Elsewhere the file was
      // exported for its weights alone.
      return algo_.activations == A::kFp8Tensor ? act : ActivationSpec{};
    }
    NIBBLE_TRY(const float scale, ScalarParam(params, "input_scale"));
    if (algo_.activations == A::kNvfp4Local) {
      act.grain = ActivationSpec::kGroup;
      act.group = GroupOf(weight);
      act.code = DType::kE2M1;
      act.scale_code = ActivationSpec::kE4M3;
      act.global = scale;
    } else {
      if (algo_.activations == A::kInt8Static) act.code = DType::kI8;
      act.dynamic = false;
      act.scale = scale;
    }
    if (IsRunnable(act)) return act;
    return Corrupt("{} is {}, wanted a positive number", ParamName(params, "input_scale"), scale);
  }

  A algo_;
};

class ModelOptQuantizationConfig : public QuantizationConfig {
 public:
  ModelOptQuantizationConfig(ModelOptConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string_view name() const override { return "modelopt"; }
  std::string Describe() const override {
    std::string text = fmt::format("modelopt {}", config_.algo ? config_.algo->name : "mixed_precision");
    return config_.kv_cache == ModelOptConfig::kNoKv ? text : text + ", K/V " + config_.kv_name;
  }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention || (layer.has && !layer.has("weight_scale"))) return nullptr;
    const A* algo = config_.AlgoOf(layer);
    if (!algo && layer.has && config_.algo) {
      Warn("{}: the config excludes {}, its tensors are quantized; the tensors are believed", where_, layer.name);
      algo = config_.algo;
    }
    if (algo) return std::make_shared<const ModelOptLinearMethod>(config_.RunAs(*algo));
    if (!layer.has) return nullptr;
    return Corrupt("{}: {} has a weight_scale, but quantized_layers does not name it", where_, layer.name);
  }

  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery&) const override {
    if (config_.kv_cache == ModelOptConfig::kFp8Kv) return MakeKvScales(KvFormats(DType::kE4M3));
    if (config_.kv_cache == ModelOptConfig::kNvfp4Kv) return MakeKvScales(StaticNvfp4Kv());
    return config_.kv_cache == ModelOptConfig::kNoKv ? nullptr : MakeKvScales(std::nullopt);
  }

  double EstimateBits(const LayerQuery& layer) const override {
    const A* algo = layer.kind == LayerKind::kAttention ? nullptr : config_.AlgoOf(layer);
    return algo ? algo->bits : 0;
  }

 private:
  ModelOptConfig config_;
  std::string where_;
};

Result<std::unique_ptr<QuantizationConfig>> ModeloptFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(ModelOptConfig config, ModelOptConfig::Parse(json, source.where));
  if (config.kv_cache == ModelOptConfig::kOtherKv) {
    Warn("{}: K/V cache format {} is not applied; the cache keeps its own format", source.where, config.kv_name);
  }
  if (config.mxfp4_weights_only) {
    Warn(
        "{}: quant_algo {} does not say whether activations are quantized; since attention is excluded, this is taken for the "
        "tool's "
        "MXFP4_MLP_WEIGHT_ONLY and activations stay float",
        source.where, config.algo->name);
  }
  return std::make_unique<ModelOptQuantizationConfig>(std::move(config), source.where);
}

}  // namespace

const QuantizationEntry* modelopt_method() {
  static const QuantizationEntry entry = {
      .name = "modelopt",
      .quant_methods = {"modelopt", "modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8", "mxfp8", "petit_nvfp4"},
      .config_filenames = {"hf_quant_config.json"},
      .summary = "NVIDIA ModelOpt: FP8, NVFP4, MX, int8 and int4 AWQ, SVDQuant, mixed by layer; quantized activations",
      .formats = {"fp8", "block_float", "int_group", "table"},
      .checked = {"nvidia-modelopt 0.47.0"},
      .from_config = ModeloptFromConfig};
  return &entry;
}

}  // namespace nibble
