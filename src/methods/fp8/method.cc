// SPDX-License-Identifier: Apache-2.0
// FP8 checkpoints of quant_method "fp8": per-tensor scales (weight_scale), blocks (weight_scale_inv, which multiplies despite its
// name), and GPTQModel's files, whose weight_scale_inv is a true inverse.
#include <algorithm>

#include "methods/block_float_weight.h"
#include "methods/fp8/config.h"
#include "methods/fp8/expert_scales.h"
#include "methods/fp8_weight.h"
#include "methods/kv_scales.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

// Spellings of the static activation scale.
constexpr std::string_view kInputScales[] = {"input_scale", "activation_scale", "act_scale"};

class Fp8LinearMethod : public LinearMethod {
 public:
  explicit Fp8LinearMethod(const Fp8Config& config, std::optional<ExpertScales> shared = std::nullopt)
      : config_(config), shared_(std::move(shared)) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> scales = {DType::kF32, DType::kBF16, DType::kF16, DType::kE8M0, DType::kU8};
    std::vector<ParamDecl> params = {{"weight", {DType::kE4M3, DType::kE5M2, DType::kU8, DType::kI8}, ParamDecl::kWeight, true},
                                     {"weight_scale_inv", scales, ParamDecl::kBlockScale, false},
                                     {"weight_scale", scales, ParamDecl::kTensorScale, false}};
    params.push_back({"input_scale_ub", {DType::kF32, DType::kBF16}, ParamDecl::kTensorScale, false});
    for (const std::string_view name : kInputScales) {
      params.push_back({name, {DType::kF32, DType::kBF16, DType::kF16}, ParamDecl::kTensorScale, false});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    if (!shared_) return Make(bound, config_);
    // As if the module had scales of its own.
    BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
    NIBBLE_TRY(const ExpertScales::Blocks blocks, shared_->Of(params.n, config_.block_n));
    NIBBLE_TRY(float activation, shared_->Activation());
    StoredTensor scale{.name = params.name + ".weight_scale_inv", .view = blocks.scales.view, .shape = blocks.scales.view.shape},
        input{.name = params.name + ".activation_scale", .view = TensorView(&activation, DType::kF32, {1})};
    params.params.emplace_back("weight_scale_inv", &scale);
    if (activation > 0) params.params.emplace_back("activation_scale", &input);
    Fp8Config config = config_;
    if (config.block_n > 0) config.block_n = blocks.rows;
    NIBBLE_TRY(LinearPart part, Make(params, config));
    auto weight = std::make_shared<StoredWeight>(*part.weight);
    weight->keep.push_back(blocks.scales.bytes);
    part.weight = std::move(weight);
    return part;
  }

 private:
  Result<LinearPart> Make(const BoundParams& params, const Fp8Config& config) const {
    const bool inv = params.Find("weight_scale_inv");
    if (inv && params.Find("weight_scale")) {
      return Corrupt("{} and weight_scale are both present; one of them must go", ParamName(params, "weight_scale_inv"));
    }
    const Fp8Layout layout{.block_n = config.block_n,
                           .block_k = config.block_k,
                           .reciprocal = config.inverse && inv,
                           .scale_suffix = inv ? "weight_scale_inv" : "weight_scale"};
    NIBBLE_TRY(StoredWeight weight, IsMxfp4(params)
                                        ? MakeBlockFloatWeight(params, {.group = 32, .scale = layout.scale_suffix, .e8m0 = true})
                                        : MakeFp8Weight(params, layout));
    NIBBLE_TRY(const ActivationSpec act, Activations(params));
    return FinishPart(std::move(weight), act);
  }

  // DeepSeek V4's experts: two codes a byte.
  static bool IsMxfp4(const BoundParams& params) {
    const DType dtype = params.View("weight").dtype;
    return dtype == DType::kU8 || dtype == DType::kI8;
  }

  Result<ActivationSpec> Activations(const BoundParams& params) const {
    ActivationSpec act;
    if (config_.activations == Fp8Config::kFloat) return act;
    act.code = DType::kE4M3;
    if (config_.pow2_scales) act.scale_code = ActivationSpec::kPow2Up;
    if (config_.activations == Fp8Config::kStatic) {
      for (const std::string_view name : kInputScales) {
        if (!params.Find(name)) continue;
        act.grain = ActivationSpec::kTensor;
        act.dynamic = false;
        NIBBLE_TRY(act.scale, ScalarParam(params, name));
        return act;
      }
    }  // a static layer without its scale is computed dynamically, as other loaders do
    act.grain = config_.block_k > 0 ? ActivationSpec::kGroup : ActivationSpec::kToken;
    act.group = static_cast<int>(config_.block_k);
    act.upper_bound = config_.upper_bound;
    if (params.Find("input_scale_ub")) {
      NIBBLE_TRY(act.upper_bound, ScalarParam(params, "input_scale_ub"));
    }
    return act;
  }

  Fp8Config config_;
  std::optional<ExpertScales> shared_;
};

class Fp8QuantizationConfig : public QuantizationConfig {
 public:
  Fp8QuantizationConfig(Fp8Config config, TensorIndex shared) : config_(std::move(config)), shared_(std::move(shared)) {}

  std::string_view name() const override { return "fp8"; }
  std::string Describe() const override {
    static constexpr const char* kActivations[] = {"float activations", "dynamic activations", "static activations"};
    std::string text = "fp8";
    if (config_.block_n > 0) text += fmt::format(" {}x{}", config_.block_n, config_.block_k);
    return text + " " + kActivations[config_.activations];
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (!IsQuantized(layer)) {
      auto shared = layer.has ? ExpertScales::Find(shared_, layer.name) : std::nullopt;
      return shared ? std::make_shared<const Fp8LinearMethod>(config_, std::move(shared)) : nullptr;
    }
    return std::make_shared<const Fp8LinearMethod>(config_);
  }
  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery& layer) const override {
    const bool stored = layer.has && (layer.has("k_scale") || layer.has("v_scale"));
    if (!config_.kv_cache && !stored) return nullptr;
    return MakeKvScales(KvFormats(DType::kE4M3));
  }
  std::vector<std::string_view> ignored_suffixes() const override {
    return {std::begin(ExpertScales::kSuffixes), std::end(ExpertScales::kSuffixes)};
  }
  // One byte a weight, a float32 scale a block.
  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention || !ConfigSays(layer)) return 0;
    return config_.block_n > 0 ? 8 + 32.0 / static_cast<double>(config_.block_n * config_.block_k) : 8;
  }

 private:
  // A layer whose scales are not stored is not quantized, whatever the lists say.
  bool IsQuantized(const LayerQuery& layer) const {
    return layer.has ? layer.has("weight_scale_inv") || layer.has("weight_scale") : ConfigSays(layer);
  }
  bool ConfigSays(const LayerQuery& layer) const {
    if (layer.kind == LayerKind::kLmHead || layer.kind == LayerKind::kEmbedding) return false;
    const auto names = [&](const std::string& name) {
      return name == layer.name || (!layer.fused_name.empty() && name == layer.fused_name);
    };
    const auto matches = [&](const NamePattern& pattern) { return pattern.Matches(layer.name); };
    return std::none_of(config_.ignored.begin(), config_.ignored.end(), names) &&
           std::none_of(config_.ignored_patterns.begin(), config_.ignored_patterns.end(), matches);
  }
  Fp8Config config_;
  TensorIndex shared_;  // scales of all experts together
};

Result<std::unique_ptr<QuantizationConfig>> Fp8FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(Fp8Config config, Fp8Config::Parse(json, source.where));
  NIBBLE_TRY(TensorIndex shared, ExpertScales::Collect(source.tensors));
  return std::make_unique<Fp8QuantizationConfig>(std::move(config), std::move(shared));
}

}  // namespace

const QuantizationEntry* fp8_method() {
  static const QuantizationEntry entry = {
      .name = "fp8",
      .quant_methods = {"fp8", "fbgemm_fp8", "ptpc_fp8", "deepseek_v4_fp8"},
      .summary = "FP8 weights per tensor, row or block, MXFP4 experts beside them; static, dynamic or float activations",
      .formats = {"fp8", "block_float"},
      .checked = {"transformers 5.17.0", "transformers 5.23.0", "gptqmodel 7.7.0"},
      .from_config = Fp8FromConfig};
  return &entry;
}

}  // namespace nibble
