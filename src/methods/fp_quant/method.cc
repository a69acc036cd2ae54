// SPDX-License-Identifier: Apache-2.0
// FP-Quant: MXFP4 or NVFP4 weights and activations, both behind one small rotation of blocks of channels that the file holds.
#include "base/log.h"
#include "methods/block_float_weight.h"
#include "methods/name_list.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

struct FpQuantSettings {
  bool nvfp4 = false, quest = true;
  int64_t block = 32;  // of the rotation
  std::vector<std::string> plain = {"lm_head"};

  int64_t group() const { return nvfp4 ? 16 : 32; }

  static Result<FpQuantSettings> Parse(const Json& json, const std::string& where) {
    NIBBLE_RETURN_IF_ERROR(CheckKeys(
        json, where,
        {"quant_method", "forward_dtype", "forward_method", "hadamard_group_size", "modules_to_not_convert", "pseudoquantization"},
        {"backward_dtype", "store_master_weights", "transform_init"}));
    FpQuantSettings settings;
    NIBBLE_TRY_IN(where, const std::string dtype, JsonString(json, "forward_dtype", "mxfp4"));
    NIBBLE_TRY_IN(where, const std::string method, JsonString(json, "forward_method", "abs_max"));
    NIBBLE_TRY_IN(where, settings.block, JsonInt(json, "hadamard_group_size", 32));
    if (dtype != "mxfp4" && dtype != "nvfp4")
      return Unsupported("{}: forward_dtype is \"{}\", wanted mxfp4 or nvfp4", where, dtype);
    if (method != "abs_max" && method != "quest")
      return Unsupported("{}: forward_method is \"{}\", wanted abs_max or quest", where, method);
    settings.nvfp4 = dtype == "nvfp4";
    settings.quest = method == "quest";
    if (settings.nvfp4 && settings.quest) return Corrupt("{}: forward_method \"quest\" with forward_dtype \"nvfp4\"", where);
    if (settings.block < 1) return Corrupt("{}: hadamard_group_size is {}, wanted a positive number", where, settings.block);
    if (JsonFind(json, "modules_to_not_convert")) {
      NIBBLE_TRY(settings.plain, NameList(json, "modules_to_not_convert", where));
    }
    return settings;
  }
};

class FpQuantLinearMethod : public LinearMethod {
 public:
  FpQuantLinearMethod(FpQuantSettings settings, bool pseudo) : settings_(std::move(settings)), pseudo_(pseudo) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kBF16, DType::kF16, DType::kF32};
    const std::vector<DType> scales = {DType::kU8, settings_.nvfp4 ? DType::kE4M3 : DType::kE8M0};
    std::vector<ParamDecl> params = {{"weight_global_scale", floats, ParamDecl::kTensorScale, !pseudo_},
                                     {"act_global_scale", floats, ParamDecl::kTensorScale, settings_.nvfp4},
                                     {"forward_hadamard_matrix", floats, ParamDecl::kTransform, true},
                                     {"backward_hadamard_matrix", floats, ParamDecl::kMeta, false}};
    if (pseudo_) {
      params.push_back({"dqweight", floats, ParamDecl::kWeight, true});
    } else {
      params.push_back({"qweight", {DType::kU8}, ParamDecl::kPacked, true});
      params.push_back({"scales", scales, ParamDecl::kGroupScale, true});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    BoundParams params =
        WithStoredShape(bound, pseudo_ ? StoredExtent{.suffix = "dqweight"} : StoredExtent{.suffix = "qweight", .column_num = 2});
    StoredWeight weight;
    if (pseudo_) {
      NIBBLE_TRY(const TensorView codes, RequireParam(params, "dqweight", {params.n, params.k}));
      weight = StartWeight(params, "dense", "dqweight");
      weight.body = Dense{codes};
    } else {
      // W = (scale / global) * code
      NIBBLE_TRY(weight, MakeBlockFloatWeight(params, {.group = settings_.group(),
                                                       .codes = "qweight",
                                                       .scale = "scales",
                                                       .global = "weight_global_scale",
                                                       .global_divides = true,
                                                       .e8m0 = !settings_.nvfp4}));
    }
    const int64_t block = settings_.block;
    if (params.k % block != 0)
      return Corrupt("{}: {} columns do not divide by hadamard_group_size {}", ParamName(params, "qweight"), params.k, block);
    NIBBLE_TRY(const TensorView matrix, RequireParam(params, "forward_hadamard_matrix", {block, block}));
    weight.in.push_back({.kind = Transform::kMatrix, .data = matrix, .block = block});
    NIBBLE_TRY(const ActivationSpec act, Activations(params));
    return FinishPart(std::move(weight), act);
  }

 private:
  Result<ActivationSpec> Activations(const BoundParams& params) const {
    ActivationSpec act{.grain = ActivationSpec::kGroup,
                       .code = DType::kE2M1,
                       .group = static_cast<int>(settings_.group()),
                       .rule = ActivationSpec::kCompressedTensors};
    if (!settings_.nvfp4) {
      act.scale_code = settings_.quest ? ActivationSpec::kPow2Deviation : ActivationSpec::kPow2Thirds;
      return act;
    }
    act.scale_code = ActivationSpec::kE4M3;
    NIBBLE_TRY(act.global, ScalarParam(params, "act_global_scale"));
    if (!(act.global > 0) || !std::isfinite(act.global))
      return Corrupt("{} is {}, wanted a positive number", ParamName(params, "act_global_scale"), act.global);
    return act;
  }

  FpQuantSettings settings_;
  bool pseudo_;
};

class FpQuantConfig : public QuantizationConfig {
 public:
  explicit FpQuantConfig(FpQuantSettings settings) : settings_(std::move(settings)) {}

  std::string_view name() const override { return "fp_quant"; }
  std::string Describe() const override {
    return fmt::format("fp_quant {} behind rotations of {}", settings_.nvfp4 ? "nvfp4" : "mxfp4", settings_.block);
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const bool dense = layer.has && layer.has("dqweight");
    const bool quantized = layer.has ? layer.has("qweight") || dense : !AnyPartOf(settings_.plain, layer.name);
    if (!quantized || layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding) return nullptr;
    return std::make_shared<const FpQuantLinearMethod>(settings_, dense);
  }
  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind != LayerKind::kLinear || AnyPartOf(settings_.plain, layer.name)) return 0;
    return 4 + 8.0 / static_cast<double>(settings_.group());
  }

 private:
  FpQuantSettings settings_;
};

Result<std::unique_ptr<QuantizationConfig>> FpQuantFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(FpQuantSettings settings, FpQuantSettings::Parse(json, source.where));
  return std::make_unique<FpQuantConfig>(std::move(settings));
}

}  // namespace

const QuantizationEntry* fp_quant_method() {
  static const QuantizationEntry entry = {
      .name = "fp_quant",
      .quant_methods = {"fp_quant"},
      .summary = "FP-Quant: MXFP4 and NVFP4 weights and activations behind rotations of blocks of channels",
      .formats = {"block_float"},
      .from_config = FpQuantFromConfig};
  return &entry;
}

}  // namespace nibble
