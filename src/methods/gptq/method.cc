// SPDX-License-Identifier: Apache-2.0
// GPTQ checkpoints: which layers are quantized, and with what settings. The layouts are gptq_weight.h and awq_weight.h.
#include <algorithm>
#include <optional>

#include "base/log.h"
#include "methods/awq_weight.h"
#include "methods/bitblas_weight.h"
#include "methods/gptq/config.h"
#include "methods/gptq_weight.h"
#include "methods/marlin_weight.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

class GptqLinearMethod : public LinearMethod {
 public:
  GptqLinearMethod(GptqLayout layout, bool embedding, bool needs_map, std::vector<Transform> in, ActivationSpec act)
      : layout_(layout), embedding_(embedding), needs_map_(needs_map), in_(std::move(in)), act_(act) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return GptqParams(); }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    if (needs_map_ && !params.Find("g_idx")) {
      return Corrupt("{} is missing, but desc_act is true: the order of the columns is lost", ParamName(params, "g_idx"));
    }
    if (embedding_) return MakeGptqEmbedding(params, layout_);
    NIBBLE_TRY(LinearPart part, MakeGptqWeight(params, layout_));
    part.act = act_;
    if (in_.empty()) return part;
    StoredWeight weight = *part.weight;
    weight.in = in_;
    return FinishPart(std::move(weight), act_);
  }

 private:
  GptqLayout layout_;
  bool embedding_, needs_map_;
  std::vector<Transform> in_;
  ActivationSpec act_;
};

class AwqFormatMethod : public LinearMethod {
 public:
  explicit AwqFormatMethod(AwqLayout layout) : layout_(layout) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    std::vector<ParamDecl> params = AwqParams(layout_);
    params.push_back({"g_idx", {DType::kI32, DType::kI64}, ParamDecl::kMeta, false});
    return params;
  }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override { return MakeAwqWeight(params, layout_); }

 private:
  AwqLayout layout_;
};

class TilesLinearMethod : public LinearMethod {
 public:
  explicit TilesLinearMethod(MarlinLayout layout) : layout_(layout) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return MarlinParams(layout_); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    if (layout_.meta.empty()) return MakeMarlinWeight(params, layout_);
    NIBBLE_TRY(StoredWeight weight, MakeMarlin24Weight(params, layout_));
    return FinishPart(std::move(weight));
  }

 private:
  MarlinLayout layout_;
};

class BitBlasLinearMethod : public LinearMethod {
 public:
  explicit BitBlasLinearMethod(BitBlasLayout layout) : layout_(layout) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return BitBlasParams(); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override { return MakeBitBlasWeight(params, layout_); }

 private:
  BitBlasLayout layout_;
};

std::optional<AwqVersion> AwqVersionOf(GptqFormat format) {
  if (format == GptqFormat::kGemm) return AwqVersion::kGemm;
  if (format == GptqFormat::kGemv) return AwqVersion::kGemv;
  if (format == GptqFormat::kGemvFast) return AwqVersion::kGemvFast;
  return std::nullopt;
}

class GptqQuantizationConfig : public QuantizationConfig {
 public:
  GptqQuantizationConfig(GptqConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string_view name() const override { return "gptq"; }
  std::string Describe() const override {
    const GptqSettings& base = config_.base;
    std::string text =
        fmt::format("gptq {}-bit {} {}", base.bits, base.group_size < 0 ? "per-channel" : fmt::format("g{}", base.group_size),
                    base.sym ? "sym" : "asym");
    if (base.desc_act) text += " desc_act";
    if (!config_.rules.rules.empty()) text += fmt::format(", {} rules by module", config_.rules.rules.size());
    if (!config_.rotation.empty()) text += fmt::format(", rotation {}", config_.rotation);
    return text;
  }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const ModuleRule* rule = config_.rules.Find(layer);
    if (layer.kind == LayerKind::kAttention || !IsQuantized(layer, rule)) return nullptr;
    const GptqSettings settings = config_.SettingsOf(rule && rule->skip ? nullptr : rule);
    if (const auto version = AwqVersionOf(config_.format)) {
      return std::make_shared<const AwqFormatMethod>(
          AwqLayout{.version = *version, .bits = static_cast<int>(settings.bits), .group_size = settings.group_size});
    }
    if (config_.format == GptqFormat::kMarlin) {
      MarlinLayout layout{.bits = static_cast<int>(settings.bits), .group_size = settings.group_size};
      if (!layer.has || layer.has("B")) layout.codes = "B", layout.scales = "s";
      return std::make_shared<const TilesLinearMethod>(layout);
    }
    if (config_.format == GptqFormat::kMarlin24) {
      return std::make_shared<const TilesLinearMethod>(MarlinLayout{.bits = static_cast<int>(settings.bits),
                                                                    .group_size = settings.group_size,
                                                                    .codes = "B_24",
                                                                    .scales = "s",
                                                                    .meta = "B_meta"});
    }
    if (config_.format == GptqFormat::kBitBlas) {
      return std::make_shared<const BitBlasLinearMethod>(
          BitBlasLayout{.bits = static_cast<int>(settings.bits), .group_size = settings.group_size, .rescale = config_.rescale});
    }
    // Widths that fill no words evenly exist in split planes only, whatever the format says; 3 bits in both forms.
    const bool planar = config_.format == GptqFormat::kPlanar || (settings.bits >= 5 && settings.bits <= 7);
    const GptqLayout layout{.bits = static_cast<int>(settings.bits),
                            .group_size = settings.group_size,
                            .zeros_plus_one = config_.format == GptqFormat::kV1,
                            .word_bits = config_.word_bits,
                            .planar = planar};
    const bool needs_map = settings.desc_act && settings.group_size > 0 && !config_.static_groups;
    std::vector<Transform> in;
    // GPTQModel rotates the input of every down_proj at run time; all other rotations are inside the weights.
    if (!config_.rotation.empty() && layer.name.ends_with(".mlp.down_proj")) in.push_back({.kind = Transform::kHadamard});
    return std::make_shared<const GptqLinearMethod>(layout, layer.kind == LayerKind::kEmbedding, needs_map, std::move(in),
                                                    Activations());
  }

  // Codes, and for each group a float16 scale and a packed zero point; g_idx is too small to count.
  double EstimateBits(const LayerQuery& layer) const override {
    const ModuleRule* rule = config_.rules.Find(layer);
    if (layer.kind == LayerKind::kAttention || !ConfigSays(layer, rule)) return 0;
    const GptqSettings settings = config_.SettingsOf(rule);
    const auto bits = static_cast<double>(settings.bits);
    return settings.group_size > 0 ? bits + (16 + bits) / static_cast<double>(settings.group_size) : bits;
  }

 private:
  // w4afp8: each row of x as e4m3 under its amax / 448.
  ActivationSpec Activations() const {
    if (!config_.fp8_activations) return {};
    return {.grain = ActivationSpec::kToken, .code = DType::kE4M3, .rule = ActivationSpec::kCompressedTensors};
  }
  // The tensors decide where they are known: "lm_head": false may stand beside a quantized lm_head.
  bool IsQuantized(const LayerQuery& layer, const ModuleRule* rule) const {
    const bool by_config = ConfigSays(layer, rule);
    if (!layer.has) return by_config;
    const bool stored = layer.has("qweight") || layer.has("B") || layer.has("B_24");
    const bool plain = layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kExpert;
    if (stored != by_config && plain && (stored || !layer.has("weight"))) {
      Warn("{}: the settings say that {} is {}quantized, its tensors say the opposite; the tensors are believed", where_,
           layer.name, by_config ? "" : "not ");
    }
    return stored;
  }
  bool ConfigSays(const LayerQuery& layer, const ModuleRule* rule) const {
    if (rule || layer.kind == LayerKind::kEmbedding || layer.kind == LayerKind::kLmHead) return config_.rules.Includes(layer);
    const std::vector<std::string>& names = config_.modules_in_block;
    return names.empty() || std::any_of(names.begin(), names.end(),
                                        [&](const std::string& part) { return layer.name.find(part) != std::string::npos; });
  }

  GptqConfig config_;
  std::string where_;
};

Result<std::unique_ptr<QuantizationConfig>> GptqFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(GptqConfig config, GptqConfig::Parse(json, source));
  return std::make_unique<GptqQuantizationConfig>(std::move(config), source.where);
}

}  // namespace

const QuantizationEntry* gptq_method() {
  static const QuantizationEntry entry = {
      .name = "gptq",
      .quant_methods = {"gptq", "auto_gptq", "gptqmodel", "gptq_p", "gptq_marlin", "marlin", "gptq_marlin_24", "gptq_bitblas",
                        "bitblas"},
      .config_filenames = {"quantize_config.json"},
      .summary = "GPTQ: integers of 2 to 8 bits in groups, with or without act-order; split planes, Marlin tiles, BitBLAS",
      .formats = {"int_group"},
      .checked = {"gptqmodel 7.7.0"},
      .from_config = GptqFromConfig};
  return &entry;
}

}  // namespace nibble
