// SPDX-License-Identifier: Apache-2.0
// AWQ checkpoints: which layers are quantized. The layouts are in awq_weight.h.
#include "methods/awq/config.h"

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
    return std::make_shared<const AwqLinearMethod>(config_.layout);
  }
  // Codes, and for each group a float16 scale and a zero point: packed, float16 (gemv_fast) or none (marlin).
  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding || !ConfigSays(layer)) return 0;
    const double bits = config_.layout.bits;
    if (config_.layout.group_size < 0) return bits;
    const double zero = config_.layout.version == AwqVersion::kGemvFast ? 16
                        : config_.layout.version == AwqVersion::kMarlin ? 0
                                                                        : bits;
    return bits + (16 + zero) / static_cast<double>(config_.layout.group_size);
  }

 private:
  // Names are matched as parts of the module's name; tensors decide where they are known (the list is often incomplete).
  bool IsQuantized(const LayerQuery& layer) const { return layer.has ? layer.has("qweight") : ConfigSays(layer); }
  bool ConfigSays(const LayerQuery& layer) const {
    if (layer.kind == LayerKind::kLmHead) return config_.lm_head;
    for (const std::string& part : config_.modules_to_not_convert) {
      if (layer.name.find(part) != std::string::npos) return false;
    }
    return true;
  }
  AwqConfig config_;
};

Result<std::unique_ptr<QuantizationConfig>> FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(AwqConfig config, AwqConfig::Parse(json, source.where));
  return std::make_unique<AwqQuantizationConfig>(std::move(config));
}

}  // namespace

const QuantizationEntry* awq_method() {
  static const QuantizationEntry entry = {
      .name = "awq",
      .quant_methods = {"awq"},
      .config_filenames = {"quant_config.json", "quantize_config.json"},
      .summary = "AWQ: 4-bit integers (other widths read too) with zero points, layouts gemm, gemv, gemv_fast, marlin",
      .formats = {"int_group"},
      .from_config = FromConfig};
  return &entry;
}

}  // namespace nibble
