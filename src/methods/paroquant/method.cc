// SPDX-License-Identifier: Apache-2.0
// ParoQuant checkpoints of GPTQModel: AWQ's layout, and before the product x goes through channel scales and a few rounds of plane
// rotations of pairs of channels, all inside a group.
#include "methods/awq_weight.h"
#include "methods/module_rules.h"
#include "methods/param_checks.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct ParoSettings {
  AwqLayout layout;
  int64_t rounds = 8;
  ModuleRules rules;

  AwqLayout LayoutOf(const LayerQuery& layer) const {
    AwqLayout own = layout;
    if (const ModuleRule* rule = rules.Find(layer)) own.group_size = rule->group_size.value_or(own.group_size);
    return own;
  }

  static Result<ParoSettings> Parse(const Json& json, const ConfigSource& source) {
    const std::string& where = source.where;
    NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where,
                                     {"quant_method", "method", "bits", "group_size", "krot", "lm_head", "dynamic", "format",
                                      "checkpoint_format", "pack_dtype", "zero_point", "desc_act"},
                                     {"meta", "sym", "adapter"}));
    ParoSettings settings;
    NIBBLE_TRY_IN(where, const int64_t bits, JsonInt(json, "bits", 4));
    if (bits != 4) return Unsupported("{}: bits is {}, wanted 4", where, bits);
    NIBBLE_TRY_IN(where, settings.layout.group_size, JsonInt(json, "group_size", 128));
    if (settings.layout.group_size == 0 || settings.layout.group_size < -1) {
      return Corrupt("{}: group_size is {}, wanted -1 or a positive number", where, settings.layout.group_size);
    }
    NIBBLE_TRY_IN(where, settings.rounds, JsonInt(json, "krot", 8));
    NIBBLE_TRY(settings.rules, ModuleRules::Parse(json, source));
    return settings;
  }
};

class ParoLinearMethod : public LinearMethod {
 public:
  explicit ParoLinearMethod(AwqLayout layout) : layout_(layout) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32};
    std::vector<ParamDecl> params = AwqParams(layout_);
    params.push_back({"theta", floats, ParamDecl::kTransform, true});
    params.push_back({"pairs", {DType::kI16, DType::kI32}, ParamDecl::kTransform, true});
    params.push_back({"channel_scales", floats, ParamDecl::kTransform, true});
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    NIBBLE_TRY(const LinearPart part, MakeAwqWeight(bound, layout_));
    StoredWeight weight = *part.weight;
    BoundParams params = bound;
    params.n = weight.n;
    params.k = weight.k;
    NIBBLE_TRY(TensorView scales, RequireParam(params, "channel_scales", {1, params.k}));
    weight.in.push_back({.kind = Transform::kScale, .data = scales.Select(0, 0)});
    NIBBLE_RETURN_IF_ERROR(AddRotations(params, weight));
    return FinishPart(std::move(weight));
  }

 private:
  // theta [rounds, k/2], pairs [rounds, k]: inside each group of channels, pair p of a round is (pairs[2p], pairs[2p + 1]), counted
  // from the group's first channel; negative entries fill up. x_i' = x_i cos t + x_j sin t, x_j' = x_j cos t - x_i sin t: the
  // rotation by -t. The pairs of a round share no channel.
  Status AddRotations(const BoundParams& params, StoredWeight& weight) const {
    const int64_t k = params.k, group = layout_.group_size > 0 && layout_.group_size < k ? layout_.group_size : k;
    NIBBLE_TRY(const TensorView theta, RequireRank(params, "theta", 2));
    const int64_t rounds = theta.dim(0);
    NIBBLE_RETURN_IF_ERROR(RequireParam(params, "theta", {rounds, k / 2}));
    NIBBLE_TRY(const TensorView pairs, RequireParam(params, "pairs", {rounds, k}));
    if (k % group != 0 || group % 2 != 0) {
      return Unsupported("{}: groups of {} in {} channels", ParamName(params, "pairs"), group, k);
    }
    std::vector<float> angles;
    std::vector<int32_t> channels;
    for (int64_t p = 0; p < rounds * k / 2; ++p) {
      const int64_t first = p % (k / 2) * 2 / group * group;
      const auto i = static_cast<int64_t>(LoadScalar(pairs.dtype, pairs.data, 2 * p));
      const auto j = static_cast<int64_t>(LoadScalar(pairs.dtype, pairs.data, 2 * p + 1));
      if (i < 0 || j < 0) continue;
      if (i >= group || j >= group || i == j) {
        return Corrupt("{}: entry {} pairs channels {} and {} of a group of {}", ParamName(params, "pairs"), 2 * p, i, j, group);
      }
      channels.push_back(static_cast<int32_t>(first + i));
      channels.push_back(static_cast<int32_t>(first + j));
      angles.push_back(-LoadScalar(theta.dtype, theta.data, p));
    }
    const auto count = static_cast<int64_t>(angles.size());
    Tensor angle(DType::kF32, {count}), pair(DType::kI32, {count, 2});
    std::copy(angles.begin(), angles.end(), angle.as<float>());
    std::copy(channels.begin(), channels.end(), pair.as<int32_t>());
    weight.in.push_back({.kind = Transform::kGivens, .data = angle.view, .data2 = pair.view});
    weight.keep.push_back(angle.bytes);
    weight.keep.push_back(pair.bytes);
    return {};
  }

  AwqLayout layout_;
};

class ParoConfig : public QuantizationConfig {
 public:
  explicit ParoConfig(ParoSettings settings) : settings_(std::move(settings)) {}

  std::string_view name() const override { return "paroquant"; }
  std::string Describe() const override {
    return fmt::format("paroquant 4-bit g{}, {} rounds of pair rotations", settings_.layout.group_size, settings_.rounds);
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const bool quantized = layer.has ? layer.has("qweight") : settings_.rules.Includes(layer);
    if (!quantized || layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding) return nullptr;
    return std::make_shared<const ParoLinearMethod>(settings_.LayoutOf(layer));
  }
  // Codes, and for each group a 16-bit scale and a packed zero point; rotations are too small to count.
  double EstimateBits(const LayerQuery& layer) const override {
    if (!settings_.rules.Includes(layer)) return 0;
    const int64_t group = settings_.LayoutOf(layer).group_size;
    return group > 0 ? 4 + 20.0 / static_cast<double>(group) : 4;
  }

 private:
  ParoSettings settings_;
};

Result<std::unique_ptr<QuantizationConfig>> ParoquantFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(ParoSettings settings, ParoSettings::Parse(json, source));
  return std::make_unique<ParoConfig>(std::move(settings));
}

}  // namespace

const QuantizationEntry* paroquant_method() {
  static const QuantizationEntry entry = {
      .name = "paroquant",
      .quant_methods = {"paroquant"},
      .summary = "ParoQuant: AWQ's 4-bit layout behind channel scales and rotations of pairs of channels",
      .formats = {"int_group"},
      .checked = {"gptqmodel 7.7.0"},
      .from_config = ParoquantFromConfig};
  return &entry;
}

}  // namespace nibble
