// SPDX-License-Identifier: Apache-2.0
// BitNet b1.58 checkpoints of transformers: ternary weights, four rows to a byte, one scale a matrix; x is quantized to int8 per
// token.
#include <algorithm>
#include <cmath>

#include "formats/packing/slices.h"
#include "methods/name_list.h"
#include "methods/param_checks.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct BitNetSettings {
  bool auto_class = false;  // autobitlinear: the scale multiplies; bitlinear: it divides
  bool online = false;      // weights are stored plain and made ternary while loading
  std::vector<std::string> skipped;

  static Result<BitNetSettings> Parse(const Json& json, const std::string& where) {
    NIBBLE_RETURN_IF_ERROR(
        CheckKeys(json, where, {"quant_method", "linear_class", "quantization_mode", "modules_to_not_convert", "use_rms_norm"},
                  {"rms_norm_eps", "packed_modules_mapping"}));
    BitNetSettings settings;
    NIBBLE_TRY_IN(where, const std::string kind, JsonString(json, "linear_class", "bitlinear"));
    NIBBLE_TRY_IN(where, const std::string mode, JsonString(json, "quantization_mode", "offline"));
    if (kind != "bitlinear" && kind != "autobitlinear") {
      return Unsupported("{}: linear_class \"{}\"; known are bitlinear, autobitlinear", where, kind);
    }
    if (mode != "offline" && mode != "online") {
      return Unsupported("{}: quantization_mode \"{}\"; known are offline, online", where, mode);
    }
    settings.auto_class = kind == "autobitlinear";
    settings.online = mode == "online";
    if (settings.online && !settings.auto_class) {
      return Corrupt("{}: quantization_mode \"online\" is of linear_class autobitlinear, found {}", where, kind);
    }
    NIBBLE_TRY(settings.skipped, NameList(json, "modules_to_not_convert", where));
    if (!JsonFind(json, "modules_to_not_convert")) settings.skipped = {"lm_head"};
    return settings;
  }
};

constexpr ActivationSpec kInt8PerToken = {.grain = ActivationSpec::kToken, .code = DType::kI8};

class PackedTernaryMethod : public LinearMethod {
 public:
  explicit PackedTernaryMethod(bool divides) : divides_(divides) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", {DType::kU8, DType::kI8}, ParamDecl::kPacked, true},
            {"weight_scale", {DType::kBF16, DType::kF16, DType::kF32}, ParamDecl::kTensorScale, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight", .row_num = 4});
    NIBBLE_TRY(TensorView bytes, RequireParam(params, "weight", {CeilDiv(params.n, 4), params.k}));
    bytes.dtype = DType::kU8;
    StoredWeight weight = StartWeight(params, "int_group", "weight");
    Coded coded;
    coded.codes = SlicedRows(bytes, {.bits = 2, .k = params.k});
    coded.zero_default = 1;
    NIBBLE_TRY(coded.scale, ScalePlane(params, "weight_scale", 0, 0));
    coded.scale.reciprocal = divides_;
    weight.body = std::move(coded);
    return FinishPart(std::move(weight), kInt8PerToken);
  }

 private:
  bool divides_;
};

// Plain weights made ternary while loading: s = 1 / max(mean |w|, 1e-5), codes clamp(rne(w s), -1, 1), W = codes / s, all in the
// weights' own float type as the tool computes them (f32 here).
class OnlineTernaryMethod : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", {DType::kBF16, DType::kF16, DType::kF32}, ParamDecl::kWeight, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
    NIBBLE_TRY(const TensorView view, RequireParam(params, "weight", {params.n, params.k}));
    const StoredWeight plain = MakeDense(view, params.origin("weight"), params.Keep("weight"));
    Tensor rows(DType::kF32, {params.n, params.k});
    DecodeRows(plain, {0, params.n}, {0, params.k}, rows.as<float>());
    double sum = 0;
    for (int64_t i = 0; i < params.n * params.k; ++i) sum += std::fabs(static_cast<double>(rows.as<float>()[i]));
    const float scale = 1.0f / std::max(static_cast<float>(sum / static_cast<double>(params.n * params.k)), 1e-5f);
    std::vector<uint8_t> codes(static_cast<size_t>(params.n * params.k));
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(rows.as<float>()[i] * scale), -1.0f, 1.0f) + 1);
    }
    Tensor packed(DType::kU8, {CeilDiv(params.n, 4), params.k}), stored_scale(DType::kF32, {1, 1});
    EncodeSlicedRows(codes.data(), params.n, params.k, 2, false, packed.bytes->data());
    *stored_scale.as<float>() = scale;
    StoredWeight weight;
    weight.format = FindFormat("int_group");
    weight.n = params.n;
    weight.k = params.k;
    weight.origin = plain.origin;
    weight.keep = {packed.bytes, stored_scale.bytes};
    Coded coded;
    coded.codes = SlicedRows(packed.view, {.bits = 2, .k = params.k});
    coded.zero_default = 1;
    coded.scale = {.data = stored_scale.view, .block_n = 0, .reciprocal = true};
    weight.body = std::move(coded);
    return FinishPart(std::move(weight), kInt8PerToken);
  }
};

class BitNetConfig : public QuantizationConfig {
 public:
  explicit BitNetConfig(BitNetSettings settings) : settings_(std::move(settings)) {}

  std::string_view name() const override { return "bitnet"; }
  std::string Describe() const override {
    return fmt::format("bitnet ternary, int8 activations{}", settings_.online ? ", quantized while loading" : "");
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.has && layer.has("rms_norm.weight")) {
      return Unsupported("{}: a norm inside a linear layer (use_rms_norm), which this build does not run", layer.name);
    }
    if (!IsQuantized(layer)) return nullptr;
    if (settings_.online) return std::make_shared<const OnlineTernaryMethod>();
    return std::make_shared<const PackedTernaryMethod>(!settings_.auto_class);
  }
  double EstimateBits(const LayerQuery& layer) const override { return ConfigSays(layer) ? 2 : 0; }

 private:
  bool IsQuantized(const LayerQuery& layer) const {
    return ConfigSays(layer) && (settings_.online || !layer.has || layer.has("weight_scale"));
  }
  // Names are matched as parts.
  bool ConfigSays(const LayerQuery& layer) const {
    if (layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding) return false;
    return !AnyPartOf(settings_.skipped, layer.name);
  }
  BitNetSettings settings_;
};

Result<std::unique_ptr<QuantizationConfig>> BitnetFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(BitNetSettings settings, BitNetSettings::Parse(json, source.where));
  return std::make_unique<BitNetConfig>(std::move(settings));
}

}  // namespace

const QuantizationEntry* bitnet_method() {
  static const QuantizationEntry entry = {
      .name = "bitnet",
      .quant_methods = {"bitnet"},
      .summary = "BitNet b1.58: ternary weights, one scale a matrix; int8 activations per token",
      .formats = {"int_group"},
      .checked = {"transformers 5.17.0"},
      .from_config = BitnetFromConfig};
  return &entry;
}

}  // namespace nibble
