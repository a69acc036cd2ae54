// SPDX-License-Identifier: Apache-2.0
// AutoRound checkpoints: which layers are quantized, and which of the layouts of other methods each of them has.
#include <algorithm>

#include "base/log.h"
#include "formats/packing/bit_stream.h"
#include "formats/transform.h"
#include "methods/auto_round/config.h"
#include "methods/awq_weight.h"
#include "methods/block_float_weight.h"
#include "methods/fp8_weight.h"
#include "methods/gptq_weight.h"
#include "methods/kv_scales.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

class IntGptqMethod : public LinearMethod {
 public:
  explicit IntGptqMethod(GptqLayout layout) : layout_(layout) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return GptqParams(); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override { return MakeGptqWeight(params, layout_); }

 private:
  GptqLayout layout_;
};

class IntAwqMethod : public LinearMethod {
 public:
  explicit IntAwqMethod(AwqLayout layout) : layout_(layout) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return AwqParams(layout_); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override { return MakeAwqWeight(params, layout_); }

 private:
  AwqLayout layout_;
};

// What the small-block types demand of x: scales as the tool makes them, e4m3 under a stored number or powers of two.
Result<ActivationSpec> BlockActivations(const BoundParams& params, const AutoRoundSettings& settings) {
  ActivationSpec act;
  if (settings.act_bits >= 16) return act;
  act = {.grain = ActivationSpec::kGroup, .bits = static_cast<int>(settings.act_bits), .rule = ActivationSpec::kAutoRound};
  const bool nvfp4 = settings.act_data == AutoRoundData::kNvFp;
  act.group = static_cast<int>(settings.act_group_size > 0 ? settings.act_group_size : nvfp4 ? 16 : 32);
  act.scale_code = nvfp4 ? ActivationSpec::kE4M3 : settings.act_ceil ? ActivationSpec::kPow2Up : ActivationSpec::kPow2Floor;
  // Where the settings ask for mx_int, the tool's layers make mx_fp of that width all the same: they call its quantizer without
  // naming the type, and this is what its results hold.
  act.code = settings.act_bits == 4 ? DType::kE2M1 : settings.act_bits == 6 ? DType::kE2M3 : DType::kE4M3;
  if (nvfp4) {
    NIBBLE_TRY(act.global, ScalarParam(params, "input_global_scale"));
  }
  if (IsRunnable(act)) return act;
  return Unsupported("{}: activations of {} bits in groups of {} under the global scale {}", params.name, act.bits, act.group,
                     act.global);
}

// NVFP4 and MX floats. The tool multiplies by the reciprocal of NVFP4's global scale before the scale of the group.
class BlockFloatMethod : public LinearMethod {
 public:
  BlockFloatMethod(AutoRoundSettings settings, const AutoRoundConfig& config)
      : settings_(settings), rotation_(config.rotation), random_(config.random_rotation) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF32, DType::kBF16, DType::kF16};
    return {{Codes(), {DType::kU8, DType::kE4M3, DType::kE5M2}, ParamDecl::kPacked, true},
            {"weight_scale", {DType::kE4M3, DType::kU8, DType::kE8M0}, ParamDecl::kGroupScale, true},
            {"weight_global_scale", floats, ParamDecl::kTensorScale, false},
            {"input_global_scale", floats, ParamDecl::kTensorScale, false},
            {"hadamard_matrix", floats, ParamDecl::kTransform, false}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    const bool nvfp4 = settings_.data == AutoRoundData::kNvFp;
    NIBBLE_TRY(StoredWeight weight, MakeBlockFloatWeight(params, {.element = settings_.bits == 4   ? DType::kE2M1
                                                                             : settings_.bits == 6 ? DType::kE2M3
                                                                                                   : DType::kE4M3,
                                                                  .group = settings_.group_size > 0 ? settings_.group_size : 0,
                                                                  .codes = Codes(),
                                                                  .global = nvfp4 ? "weight_global_scale" : "",
                                                                  .global_divides = true,
                                                                  .global_first = nvfp4,
                                                                  .e8m0 = !nvfp4}));
    NIBBLE_RETURN_IF_ERROR(AddRotation(params, weight));
    NIBBLE_TRY(const ActivationSpec act, BlockActivations(params, settings_));
    return FinishPart(std::move(weight), act);
  }

 private:
  std::string_view Codes() const { return settings_.bits == 8 ? "weight" : "weight_packed"; }

  // random_hadamard: every module brings its matrix M, x' = x M^T by blocks.
  Status AddRotation(const BoundParams& params, StoredWeight& weight) const {
    if (rotation_ == 0) return {};
    if (params.Find("hadamard_matrix")) {
      NIBBLE_TRY(const TensorView matrix, RequireParam(params, "hadamard_matrix", {rotation_, rotation_}));
      weight.in.push_back({.kind = Transform::kMatrix, .data = matrix, .block = rotation_, .inverse = true});
    } else if (random_) {
      return Unsupported(
          "{}: rotation_config says random_hadamard and there is no hadamard_matrix (the tool saves one of those it shares, and "
          "its own "
          "loader misses the others); quantize with hadamard_type \"hadamard\"",
          params.name);
    } else {
      weight.in.push_back({.kind = Transform::kHadamard, .block = rotation_});
    }
    return CheckTransforms(weight.in, weight.k);
  }

  AutoRoundSettings settings_;
  int64_t rotation_;
  bool random_;
};

// Sign and magnitude of four bits under a shared power of two: value = +-0.25 * (code & 7) * 2^(scale - 127).
class MxIntMethod : public LinearMethod {
 public:
  explicit MxIntMethod(AutoRoundSettings settings) : settings_(settings) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight_packed", {DType::kU8, DType::kI8}, ParamDecl::kPacked, true},
            {"weight_scale", {DType::kU8, DType::kE8M0}, ParamDecl::kGroupScale, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    if (settings_.bits != 4) return Unsupported("{}: mx_int weights of {} bits, known are 4", bound.name, settings_.bits);
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight_packed", .column_num = 2});
    NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight_packed", {params.n, CeilDiv(params.k, 2)}));
    const int64_t group = settings_.group_size > 0 ? settings_.group_size : 32;
    static constexpr float kValues[16] = {0,    .25f,  .5f,  .75f,  1,  1.25f,  1.5f,  1.75f,
                                          -0.f, -.25f, -.5f, -.75f, -1, -1.25f, -1.5f, -1.75f};
    StoredWeight weight = StartWeight(params, "table", "weight_packed");
    Coded coded;
    coded.codes = DenseStream(bytes, 4, StreamAxis::kAlongK);
    coded.rule = ValueRule::kTable;
    coded.table = TensorView(kValues, DType::kF32, {16});
    NIBBLE_TRY(coded.scale.data, RequireParam(params, "weight_scale", {params.n, CeilDiv(params.k, group)}));
    coded.scale.data.dtype = DType::kE8M0;
    coded.scale.block_k = group;
    weight.body = std::move(coded);
    NIBBLE_TRY(const ActivationSpec act, BlockActivations(params, settings_));
    return FinishPart(std::move(weight), act);
  }

 private:
  AutoRoundSettings settings_;
};

class Fp8Method : public LinearMethod {
 public:
  explicit Fp8Method(AutoRoundSettings settings) : settings_(settings) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kBF16, DType::kF16, DType::kF32};
    return {{"weight", {DType::kE4M3, DType::kE5M2}, ParamDecl::kWeight, true},
            {"weight_scale", floats, ParamDecl::kChannelScale, false},
            {"weight_scale_inv", floats, ParamDecl::kBlockScale, false},
            {"input_scale", floats, ParamDecl::kTensorScale, false}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    // FP8_BLOCK is packed as transformers' fp8, whose weight_scale_inv multiplies, too.
    const bool inv = params.Find("weight_scale_inv") != nullptr;
    NIBBLE_TRY(StoredWeight weight, MakeFp8Weight(params, {.block_n = settings_.block_n,
                                                           .block_k = std::max<int64_t>(settings_.group_size, 0),
                                                           .scale_suffix = inv ? "weight_scale_inv" : "weight_scale"}));
    ActivationSpec act;
    if (settings_.act_bits == 8) {
      act = {.grain = ActivationSpec::kToken, .code = DType::kE4M3, .dynamic = settings_.act_dynamic};
      if (!settings_.act_dynamic) {
        act.grain = ActivationSpec::kTensor;
        NIBBLE_TRY(act.scale, ScalarParam(params, "input_scale"));
      } else if (settings_.act_group_size > 0) {
        act.grain = ActivationSpec::kGroup;
        act.group = static_cast<int>(settings_.act_group_size);
      }
    }
    return FinishPart(std::move(weight), act);
  }

 private:
  AutoRoundSettings settings_;
};

class AutoRoundQuantizationConfig : public QuantizationConfig {
 public:
  AutoRoundQuantizationConfig(AutoRoundConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string_view name() const override { return "auto_round"; }
  std::string Describe() const override {
    static constexpr const char* kData[] = {"int", "fp", "mx_int", "mx_fp", "nv_fp"};
    const AutoRoundSettings& base = config_.base;
    std::string text =
        fmt::format("auto-round {}{} {} {}", kData[static_cast<size_t>(base.data)], base.bits,
                    base.group_size < 0 ? "per-channel" : fmt::format("g{}", base.group_size), base.sym ? "sym" : "asym");
    return config_.rules.empty() ? text : text + fmt::format(", {} rules by module", config_.rules.size());
  }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const AutoRoundSettings settings = config_.Find(layer);
    if (layer.kind == LayerKind::kAttention || !IsStored(layer, settings)) return nullptr;
    const bool ints = !layer.has || layer.has("qweight");
    if (settings.data == AutoRoundData::kInt && ints) return IntMethod(settings);
    if (settings.data == AutoRoundData::kMxInt) return std::make_shared<const MxIntMethod>(settings);
    const bool block_float = settings.data == AutoRoundData::kNvFp || settings.data == AutoRoundData::kMxFp;
    if (block_float && (settings.bits == 4 || settings.bits == 6 || settings.bits == 8))
      return std::make_shared<const BlockFloatMethod>(settings, config_);
    if (settings.data == AutoRoundData::kFp && settings.bits == 8) return std::make_shared<const Fp8Method>(settings);
    return Unsupported("{}: {}: {} bits of data type {} in this packing, which this build does not read", where_, layer.name,
                       settings.bits, static_cast<int>(settings.data));
  }

  // static_kv_dtype, static_attention_dtype: the tool stores the scales and computes with floats when it loads them again. They
  // serve whoever asks for a cache of FP8.
  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery&) const override {
    return MakeKvScales(std::nullopt);
  }

  // Codes, and for each group a 16-bit scale and a packed zero point, or one byte.
  double EstimateBits(const LayerQuery& layer) const override {
    const AutoRoundSettings settings = config_.Find(layer);
    if (!settings.quantized()) return 0;
    const auto bits = static_cast<double>(settings.bits);
    if (settings.group_size <= 0) return bits;
    return bits + (settings.data == AutoRoundData::kInt ? 16 + bits : 8) / static_cast<double>(settings.group_size);
  }

 private:
  // The tensors decide where they are known: lists of exceptions lose entries in some versions.
  bool IsStored(const LayerQuery& layer, const AutoRoundSettings& settings) const {
    if (!layer.has) return settings.quantized();
    const bool stored =
        layer.has("qweight") || layer.has("weight_packed") || layer.has("weight_scale") || layer.has("weight_scale_inv");
    if (stored && !settings.quantized()) {
      Warn("{}: the settings say that {} is not quantized, its tensors say the opposite; the tensors are believed", where_,
           layer.name);
    }
    return stored;
  }

  Result<std::shared_ptr<const LinearMethod>> IntMethod(AutoRoundSettings settings) const {
    if (!settings.quantized()) settings = config_.base;
    if (settings.bits > 8) return Corrupt("{}: {} bits in int packing, wanted 2 to 8", where_, settings.bits);
    const int bits = static_cast<int>(settings.bits);
    const int64_t group = settings.group_size == 0 ? -1 : settings.group_size;
    if (config_.packing == AutoRoundPacking::kAwq) {
      return std::make_shared<const IntAwqMethod>(AwqLayout{.version = AwqVersion::kGemm, .bits = bits, .group_size = group});
    }
    const bool v1 = config_.packing == AutoRoundPacking::kGptqV1;
    return std::make_shared<const IntGptqMethod>(GptqLayout{.bits = bits, .group_size = group, .zeros_plus_one = v1});
  }

  AutoRoundConfig config_;
  std::string where_;
};

// Packing "auto_round:mlx": MLX's tensors under AutoRound's settings.
Result<std::unique_ptr<QuantizationConfig>> ReadAsMlx(const AutoRoundConfig& config, const ConfigSource& source) {
  const auto settings = [](const AutoRoundSettings& s) { return Json({{"bits", s.bits}, {"group_size", s.group_size}}); };
  Json json = settings(config.base);
  for (const AutoRoundRule& rule : config.rules) {
    if (rule.pattern) return Unsupported("{}: extra_config \"{}\": expressions with the packing of MLX", source.where, rule.name);
    json[rule.name] = rule.settings.quantized() ? settings(rule.settings) : Json(false);
  }
  return FindQuantization("mlx")->from_config(json, source);
}

Result<std::unique_ptr<QuantizationConfig>> AutoRoundFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(AutoRoundConfig config, AutoRoundConfig::Parse(json, source));
  if (config.packing == AutoRoundPacking::kMlx) return ReadAsMlx(config, source);
  return std::make_unique<AutoRoundQuantizationConfig>(std::move(config), source.where);
}

}  // namespace

const QuantizationEntry* auto_round_method() {
  static const QuantizationEntry entry = {
      .name = "auto_round",
      .quant_methods = {"auto-round", "intel/auto-round", "auto_round", "autoround", "inc"},
      .config_filenames = {"quantization_config.json"},
      .summary = "AutoRound: integers of 2 to 8 bits in GPTQ's and AWQ's layouts, settings by layer; mx_int4, NVFP4, MX, FP8",
      .formats = {"int_group", "table", "fp8", "block_float"},
      .checked = {"auto-round 0.15.1"},
      .from_config = AutoRoundFromConfig};
  return &entry;
}

}  // namespace nibble
