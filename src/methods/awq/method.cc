// SPDX-License-Identifier: Apache-2.0
// AWQ checkpoints: which layers are quantized. The layouts are in awq_weight.h.
#include "methods/awq/config.h"
#include "methods/name_list.h"

namespace nibble {
namespace {

class AwqLinearMethod : public LinearMethod {
 public:
  explicit AwqLinearMethod(AwqLayout layout) : layout_(layout) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return AwqParams(layout_); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override { return MakeAwqWeight(params, layout_); }

 private:
  AwqLayout layout_;
};

class AwqQuantizationConfig : public QuantizationConfig {
 public:
  explicit AwqQuantizationConfig(AwqConfig config) : config_(std::move(config)) {}

  std::string_view name() const override { return "awq"; }
  std::string Describe() const override {
    const AwqLayout& layout = config_.layout;
    static constexpr const char* kVersions[] = {"gemm", "gemv", "gemv_fast", "marlin"};
    return fmt::format("awq {}-bit {} {}", layout.bits,
                       layout.group_size < 0 ? "per-channel" : fmt::format("g{}", layout.group_size),
                       kVersions[static_cast<int>(layout.version)]);
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding || !IsQuantized(layer)) return nullptr;
    return std::make_shared<const AwqLinearMethod>(config_.LayoutOf(layer));
  }
  // Codes, and for each group a float16 scale and a zero point: packed, float16 (gemv_fast) or none (marlin).
  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding || !ConfigSays(layer)) return 0;
    const AwqLayout layout = config_.LayoutOf(layer);
    const double bits = layout.bits;
    if (layout.group_size < 0) return bits;
    const double zero = layout.version == AwqVersion::kGemvFast ? 16 : layout.version == AwqVersion::kMarlin ? 0 : bits;
    return bits + (16 + zero) / static_cast<double>(layout.group_size);
  }

 private:
  // Names are matched as parts of the module's name; tensors decide where they are known (the list is often incomplete).
  bool IsQuantized(const LayerQuery& layer) const { return layer.has ? layer.has("qweight") : ConfigSays(layer); }
  bool ConfigSays(const LayerQuery& layer) const {
    if (!config_.rules.Includes(layer)) return false;
    return !AnyPartOf(config_.modules_to_not_convert, layer.name);
  }
  AwqConfig config_;
};

Result<std::unique_ptr<QuantizationConfig>> AwqFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(AwqConfig config, AwqConfig::Parse(json, source));
  return std::make_unique<AwqQuantizationConfig>(std::move(config));
}

}  // namespace

const QuantizationEntry* awq_method() {
  static const QuantizationEntry entry = {
      .name = "awq",
      .quant_methods = {"awq", "auto_awq", "awq_marlin", "llm-awq", "llm_awq"},
      .config_filenames = {"quant_config.json", "quantize_config.json"},
      .summary = "AWQ: 4-bit integers (other widths read too) with zero points, layouts gemm, gemv, gemv_fast, marlin",
      .formats = {"int_group"},
      .checked = {"autoawq 0.2.9", "gptqmodel 7.7.0"},
      .from_config = AwqFromConfig};
  return &entry;
}

}  // namespace nibble
