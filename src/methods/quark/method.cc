// SPDX-License-Identifier: Apache-2.0
// AMD Quark: which of its tensor specs a layer has. The specs say what the tensors mean; group sizes come from them.
#include <algorithm>

#include "base/log.h"
#include "methods/kv_scales.h"
#include "methods/param_checks.h"
#include "methods/quark/config.h"
#include "methods/quark/weights.h"

namespace nibble {
namespace {

class QuarkLinearMethod : public LinearMethod {
 public:
  QuarkLinearMethod(QuarkLayer layer, bool reorder) : layer_(std::move(layer)), reorder_(reorder) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF32, DType::kBF16, DType::kF16};
    const std::vector<DType> scales = {DType::kF32, DType::kBF16, DType::kF16, DType::kE4M3, DType::kE8M0, DType::kU8};
    const std::vector<DType> zeros = {DType::kI32, DType::kI8, DType::kU8, DType::kF32, DType::kBF16};
    return {{"weight", {DType::kE4M3, DType::kE5M2, DType::kI8, DType::kU8, DType::kI32}, ParamDecl::kWeight, true},
            {"weight_scale", scales, ParamDecl::kGroupScale, false},
            {"weight_scale_inv", scales, ParamDecl::kBlockScale, false},
            {"weight_scale_2", floats, ParamDecl::kGroupScale, false},
            {"weight_zero_point", zeros, ParamDecl::kZeroPoint, false},
            {"weight_zero_point_2", zeros, ParamDecl::kZeroPoint, false},
            {"input_scale", floats, ParamDecl::kTensorScale, false},
            {"input_scale_2", floats, ParamDecl::kTensorScale, false},
            {"input_zero_point", zeros, ParamDecl::kZeroPoint, false},
            {"output_scale", floats, ParamDecl::kMeta, false},
            {"output_zero_point", zeros, ParamDecl::kMeta, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    NIBBLE_TRY(StoredWeight weight, MakeQuarkWeight(params, layer_.weight, reorder_));
    NIBBLE_TRY(const ActivationSpec act, MakeQuarkActivations(params, layer_.input, "input"));
    LinearPart part = FinishPart(std::move(weight), act);
    if (params.Find("output_scale")) {
      NIBBLE_TRY(part.out_act, MakeQuarkActivations(params, layer_.output, "output"));
    }
    return part;
  }

 private:
  QuarkLayer layer_;
  bool reorder_;
};

class QuarkQuantizationConfig : public QuantizationConfig {
 public:
  QuarkQuantizationConfig(QuarkConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string_view name() const override { return "quark"; }
  std::string Describe() const override {
    const auto words = [](const QuarkSpecs& specs) {
      if (specs.empty()) return std::string("float");
      return specs[0].element == DType::kI8 ? fmt::format("int{}", specs[0].bits) : std::string(DTypeName(specs[0].element));
    };
    std::string text = fmt::format("quark {} weights, {} activations", words(config_.global.weight), words(config_.global.input));
    return config_.layers.empty() ? text : text + ", mixed by layer";
  }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (layer.has ? !layer.has("weight_scale") && !layer.has("weight_scale_inv") : !ConfigSays(layer)) return nullptr;
    const QuarkLayer& settings = config_.LayerOf(layer);
    if (settings.weight.empty()) {
      return Corrupt("{}: {} has a weight_scale, but the config gives its weight no number format", where_, layer.name);
    }
    QuarkLayer with_output = settings;
    if (with_output.output.empty() && layer.has && layer.has("output_scale")) with_output.output = config_.kv_output;
    return std::make_shared<const QuarkLinearMethod>(std::move(with_output), config_.reorder);
  }

  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery&) const override {
    // The tool quantizes the outputs of the projections, keys before they are rotated, and so does this method; a cache of FP8
    // codes would round rotated keys once more. Its scales serve whoever asks for such a cache.
    return config_.kv_output.empty() ? nullptr : MakeKvScales(std::nullopt);
  }

  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention || !ConfigSays(layer)) return 0;
    const QuarkSpecs& specs = config_.LayerOf(layer).weight;
    const QuarkSpec& spec = specs.back().element == DType::kI8 ? specs.back() : specs.front();
    if (spec.scheme != QuarkSpec::kPerGroup) return spec.bits;
    const double scale = spec.element == DType::kI8 ? 16 : 8, zero = spec.element == DType::kI8 ? spec.bits : 0;
    return spec.bits + (scale + zero) / static_cast<double>(spec.group);
  }

 private:
  bool ConfigSays(const LayerQuery& layer) const {
    return layer.kind != LayerKind::kEmbedding && !config_.Excludes(layer) && !config_.LayerOf(layer).weight.empty();
  }

  QuarkConfig config_;
  std::string where_;
};

Result<std::unique_ptr<QuantizationConfig>> QuarkFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(QuarkConfig config, QuarkConfig::Parse(json, source));
  return std::make_unique<QuarkQuantizationConfig>(std::move(config), source.where);
}

}  // namespace

const QuantizationEntry* quark_method() {
  static const QuantizationEntry entry = {
      .name = "quark",
      .quant_methods = {"quark"},
      .summary = "AMD Quark: FP8, int8, int4, MXFP4, MXFP6, NVFP4, int4 of FP8, mixed by layer; quantized activations",
      .formats = {"fp8", "int_group", "table", "block_float"},
      .checked = {"amd-quark 0.13"},
      .from_config = QuarkFromConfig};
  return &entry;
}

}  // namespace nibble
