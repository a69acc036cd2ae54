// SPDX-License-Identifier: Apache-2.0
// MLX checkpoints: a dense stream of codes along k, scales and additive terms (or scales alone) for each group. Embedding and head
// are quantized like any linear layer.
#include "formats/packing/bit_stream.h"
#include "methods/mlx/config.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

class MlxLinearMethod : public LinearMethod {
 public:
  explicit MlxLinearMethod(MlxSettings settings) : settings_(settings) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32};
    const bool affine = settings_.mode == MlxMode::kAffine;
    std::vector<ParamDecl> params = {{"weight", {DType::kU32, DType::kI32}, ParamDecl::kPacked, true},
                                     {"scales", affine ? floats : std::vector<DType>{DType::kU8}, ParamDecl::kGroupScale, true}};
    if (affine) params.push_back({"biases", floats, ParamDecl::kZeroPoint, true});
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const int bits = static_cast<int>(settings_.bits);
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight", .column_num = 32, .column_den = bits});
    const int64_t group = settings_.group_size;
    if (params.k % group != 0) {
      return Corrupt("{}: groups of {} do not divide {} inputs", ParamName(params, "weight"), group, params.k);
    }
    NIBBLE_TRY(const TensorView words, RequireParam(params, "weight", {params.n, DenseStreamWords(params.k, bits)}));
    StoredWeight weight = StartWeight(params, settings_.mode == MlxMode::kAffine ? "int_group" : "fp8", "weight");
    Coded coded;
    coded.codes = DenseStream(words, bits, StreamAxis::kAlongK);
    NIBBLE_TRY(coded.scale.data, RequireParam(params, "scales", {params.n, params.k / group}));
    coded.scale.block_k = group;
    NIBBLE_RETURN_IF_ERROR(SetRule(params, coded));
    weight.body = std::move(coded);
    return FinishPart(std::move(weight));
  }

 private:
  Status SetRule(const BoundParams& params, Coded& coded) const {
    if (settings_.mode == MlxMode::kAffine) {
      coded.rule = ValueRule::kIntPlusBias;
      coded.zero.emplace();
      NIBBLE_TRY(coded.zero->data, RequireParam(params, "biases", {params.n, params.k / settings_.group_size}));
      coded.zero->block_k = settings_.group_size;
      return {};
    }
    coded.rule = ValueRule::kFloat;
    coded.float_type = settings_.mode == MlxMode::kMxFp8 ? DType::kE4M3 : DType::kE2M1;
    coded.scale.data.dtype = settings_.mode == MlxMode::kNvFp4 ? DType::kE4M3 : DType::kE8M0;
    return {};
  }

  MlxSettings settings_;
};

class MlxQuantizationConfig : public QuantizationConfig {
 public:
  explicit MlxQuantizationConfig(MlxConfig config) : config_(std::move(config)) {}

  std::string_view name() const override { return "mlx"; }
  std::string Describe() const override {
    const MlxSettings& base = config_.base;
    std::string text = fmt::format("mlx {} {}-bit g{}", MlxModeName(base.mode), base.bits, base.group_size);
    return config_.modules.empty() ? text : text + fmt::format(", {} modules with settings of their own", config_.modules.size());
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const std::optional<MlxSettings> settings = config_.Find(layer.name);
    const bool quantized = layer.kind != LayerKind::kAttention && (layer.has ? layer.has("scales") : settings.has_value());
    if (!quantized) return nullptr;
    return std::make_shared<const MlxLinearMethod>(settings.value_or(config_.base));
  }
  // Codes, and for each group a 16-bit scale and additive term, or a one-byte scale.
  double EstimateBits(const LayerQuery& layer) const override {
    const std::optional<MlxSettings> settings = config_.Find(layer.name);
    if (layer.kind == LayerKind::kAttention || !settings) return 0;
    const double group_bits = settings->mode == MlxMode::kAffine ? 32 : 8;
    return static_cast<double>(settings->bits) + group_bits / static_cast<double>(settings->group_size);
  }

 private:
  MlxConfig config_;
};

Result<std::unique_ptr<QuantizationConfig>> MlxFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(MlxConfig config, MlxConfig::Parse(json, source.where));
  return std::make_unique<MlxQuantizationConfig>(std::move(config));
}

}  // namespace

const QuantizationEntry* mlx_method() {
  static const QuantizationEntry entry = {
      .name = "mlx",
      .quant_methods = {"mlx"},
      .summary = "MLX: integers of 2 to 8 bits with scale and additive term per group; mxfp4, mxfp8, nvfp4",
      .formats = {"int_group", "fp8"},
      .checked = {"mlx-lm 0.32.2", "auto-round 0.15.1"},
      .from_config = MlxFromConfig};
  return &entry;
}

}  // namespace nibble
