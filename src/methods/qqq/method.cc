// SPDX-License-Identifier: Apache-2.0
// QQQ checkpoints: 4-bit weights in tiles, widened to int8 by group scales, one f32 scale per output; x is quantized to int8 per
// token.
#include "formats/packing/qqq.h"
#include "methods/module_rules.h"
#include "methods/marlin_weight.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

struct QqqSettings {
  int64_t group_size = 128;  // -1: per channel
  ModuleRules rules;

  int64_t GroupOf(const LayerQuery& layer) const {
    const ModuleRule* rule = rules.Find(layer);
    return rule ? rule->group_size.value_or(group_size) : group_size;
  }

  static Result<QqqSettings> Parse(const Json& json, const ConfigSource& source) {
    const std::string& where = source.where;
    NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where,
                                     {"quant_method", "method", "bits", "wbits", "group_size", "lm_head", "checkpoint_format",
                                      "format", "pack_dtype", "sym", "desc_act", "dynamic"},
                                     {"meta", "damp_percent", "true_sequential", "static_groups", "adapter"}));
    QqqSettings settings;
    NIBBLE_TRY_IN(where, const int64_t wbits, JsonInt(json, "wbits", 4));
    NIBBLE_TRY_IN(where, const int64_t bits, JsonInt(json, "bits", wbits));
    if (bits != 4) return Corrupt("{}: bits is {}, wanted 4", where, bits);
    NIBBLE_TRY_IN(where, settings.group_size, JsonInt(json, "group_size", -1));
    if (settings.group_size == 0 || settings.group_size < -1) {
      return Corrupt("{}: group_size is {}, wanted -1 or a positive number", where, settings.group_size);
    }
    NIBBLE_TRY(settings.rules, ModuleRules::Parse(json, source));
    return settings;
  }
};

class QqqLinearMethod : public LinearMethod {
 public:
  explicit QqqLinearMethod(int64_t group_size) : group_size_(group_size) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32};
    return {{"B", {DType::kI32, DType::kU32}, ParamDecl::kPacked, true},
            {"s_channel", floats, ParamDecl::kChannelScale, true},
            {"s_group", floats, ParamDecl::kGroupScale, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    NIBBLE_TRY(const MarlinTensor tiles, RequireMarlinTiles(bound, "B", 4));
    const BoundParams& params = tiles.params;
    StoredWeight weight = StartWeight(params, "int_group", "B");
    Coded coded;
    NIBBLE_TRY(const TensorView channel, MarlinScales(params, "s_channel", 1, false, weight));
    coded.scale.data = channel.Transpose(0, 1);
    const bool grouped = group_size_ > 0 && group_size_ < params.k;
    if (grouped) {
      NIBBLE_TRY(const TensorView scales, RequireParam(params, "s_group", {CeilDiv(params.k, group_size_), params.n}));
      coded.codes = QqqWidened(tiles.words, scales, group_size_);
      coded.zero_default = 128;
    } else {
      if (params.View("s_group").elems() > 0 && params.Find("s_group")) {
        return Corrupt("{} is {}, but group_size {} means one scale per output", ParamName(params, "s_group"),
                       params.View("s_group").shape.ToString(), group_size_);
      }
      coded.codes = SignedNibbles(tiles.words);
      coded.zero_default = 8;
      coded.scale.multiplier = 16;  // the kernel widens a nibble to the high half of an int8; the stored scale makes up for it
    }
    weight.body = std::move(coded);
    // One scale a row, max|x| / 127, and x divided by it: a group that is the row.
    return FinishPart(std::move(weight),
                      {.grain = ActivationSpec::kGroup, .code = DType::kI8, .group = static_cast<int>(params.k)});
  }

 private:
  // Per channel, codes are two's complement; with the sign bit turned they are offset by 8.
  static CodeSource SignedNibbles(const TensorView& words) {
    CodeSource source = MarlinTiles(words, 4, MarlinOrder::kQqqChannel);
    source.read = [](const CodeSource& self, Range n, Range k, uint8_t* out) {
      const CodeSource tiles = MarlinTiles(self.t[0], 4, MarlinOrder::kQqqChannel);
      CodeSource moved = self;
      moved.read = tiles.read;
      tiles.read(moved, n, k, out);
      for (int64_t i = 0; i < n.size() * k.size(); ++i) out[i] ^= 8;
    };
    return source;
  }

  int64_t group_size_;
};

class QqqConfig : public QuantizationConfig {
 public:
  explicit QqqConfig(QqqSettings settings) : settings_(std::move(settings)) {}

  std::string_view name() const override { return "qqq"; }
  std::string Describe() const override {
    return fmt::format("qqq 4-bit {}, int8 activations",
                       settings_.group_size < 0 ? "per-channel" : fmt::format("g{}", settings_.group_size));
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const bool quantized = layer.has ? layer.has("B") : settings_.rules.Includes(layer);
    if (!quantized || layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding) return nullptr;
    return std::make_shared<const QqqLinearMethod>(settings_.GroupOf(layer));
  }
  double EstimateBits(const LayerQuery& layer) const override {
    if (!settings_.rules.Includes(layer)) return 0;
    const int64_t group = settings_.GroupOf(layer);
    return group > 0 ? 4 + 16.0 / static_cast<double>(group) : 4;
  }

 private:
  QqqSettings settings_;
};

Result<std::unique_ptr<QuantizationConfig>> QqqFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(QqqSettings settings, QqqSettings::Parse(json, source));
  return std::make_unique<QqqConfig>(std::move(settings));
}

}  // namespace

const QuantizationEntry* qqq_method() {
  static const QuantizationEntry entry = {.name = "qqq",
                                          .quant_methods = {"qqq"},
                                          .summary = "QQQ: 4-bit integers in groups under a scale per output, int8 activations",
                                          .formats = {"int_group"},
                                          .checked = {"gptqmodel 7.7.0"},
                                          .from_config = QqqFromConfig};
  return &entry;
}

}  // namespace nibble
