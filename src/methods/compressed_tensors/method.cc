// SPDX-License-Identifier: Apache-2.0
// compressed-tensors: which scheme a layer has, and what it adds to the stored forms of weights.h: activations, online rotations.
#include <algorithm>

#include "base/log.h"
#include "formats/transform.h"
#include "methods/compressed_tensors/config.h"
#include "methods/compressed_tensors/sparse.h"
#include "methods/compressed_tensors/weights.h"
#include "methods/kv_scales.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

enum class Form : uint8_t { kPacked, kInts, kFloats, kBlockFloats, kMarlin24 };

class CtLinearMethod : public LinearMethod {
 public:
  CtLinearMethod(CtGroup group, Form form, const std::vector<CtTransform>& transforms) : group_(std::move(group)), form_(form) {
    for (const CtTransform& transform : transforms) {
      (transform.output ? out_ : in_)
          .push_back({.kind = Transform::kHadamard, .block = transform.block, .inverse = transform.inverse});
      stored_.push_back(fmt::format("{}_{}.weight", transform.name, transform.output ? "output" : "input"));
    }
  }

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> zeros = {DType::kI8, DType::kI32}, indices = {DType::kI32, DType::kI64};
    const std::vector<DType> scales = {DType::kBF16, DType::kF16, DType::kF32, DType::kE8M0, DType::kE4M3, DType::kU8};
    std::vector<ParamDecl> params = WeightParams(scales);
    params.push_back({"weight_scale", scales, ParamDecl::kGroupScale, form_ != Form::kMarlin24});
    params.push_back({"weight_zero_point", zeros, ParamDecl::kZeroPoint, false});
    params.push_back({"weight_g_idx", indices, ParamDecl::kGroupIndex, false});
    params.push_back({"input_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"input_global_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"input_zero_point", {DType::kI8, DType::kI32, DType::kE4M3}, ParamDecl::kZeroPoint, false});
    params.push_back({"output_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"output_global_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"output_zero_point", {DType::kI8, DType::kI32, DType::kE4M3}, ParamDecl::kMeta, false});
    for (const std::string& name : stored_) {
      params.push_back({name, {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}, ParamDecl::kTransform, false});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    static constexpr Result<StoredWeight> (*kMake[])(const BoundParams&, const CtArgs&) = {MakePackedInts, MakeInts, MakeFloats,
                                                                                           MakeBlockFloats, MakeMarlin24};
    const auto make = kMake[static_cast<int>(form_)];
    const auto expand = [&](const BoundParams& whole) { return make(whole, *group_.weights); };
    NIBBLE_TRY(StoredWeight weight, IsSparse(params) ? ExpandSparse(params, expand) : make(params, *group_.weights));
    weight.in = in_;
    weight.out = out_;
    NIBBLE_RETURN_IF_ERROR(CheckTransforms(weight.in, weight.k));
    NIBBLE_RETURN_IF_ERROR(CheckTransforms(weight.out, weight.n));
    NIBBLE_TRY(const ActivationSpec act, MakeActivations(params, group_.inputs, "input"));
    LinearPart part = FinishPart(std::move(weight), act);
    NIBBLE_TRY(part.out_act, MakeActivations(params, group_.outputs, "output"));
    return part;
  }

 private:
  std::vector<ParamDecl> WeightParams(const std::vector<DType>& scales) const {
    const std::vector<DType> words = {DType::kI32, DType::kU32}, indices = {DType::kI32, DType::kI64};
    std::vector<ParamDecl> params;
    switch (form_) {
      case Form::kPacked:
        return {{"weight_packed", words, ParamDecl::kPacked, true}, {"weight_shape", indices, ParamDecl::kMeta, false}};
      case Form::kMarlin24:
        return {{"weight_packed", words, ParamDecl::kPacked, true},
                {"scale_packed", scales, ParamDecl::kGroupScale, true},
                {"meta", {DType::kI16}, ParamDecl::kMeta, true}};
      case Form::kBlockFloats:
        if (group_.weights->bits != 8) {
          return {{"weight_packed", {DType::kU8}, ParamDecl::kPacked, true},
                  {"weight_global_scale", scales, ParamDecl::kTensorScale, false}};
        }
        return {{"weight", {DType::kE4M3, DType::kE5M2, DType::kU8}, ParamDecl::kWeight, true},
                {"weight_global_scale", scales, ParamDecl::kTensorScale, false}};
      case Form::kInts: params = {{"weight", {DType::kI8}, ParamDecl::kWeight, false}}; break;
      case Form::kFloats: params = {{"weight", {DType::kE4M3, DType::kE5M2}, ParamDecl::kWeight, false}}; break;
    }
    for (ParamDecl& param : SparseParams()) params.push_back(std::move(param));
    return params;
  }

  CtGroup group_;
  Form form_;
  std::vector<Transform> in_, out_;
  std::vector<std::string> stored_;  // names of matrices that may be stored; they are the Hadamard matrices that we make ourselves
};

class CtQuantizationConfig : public QuantizationConfig {
 public:
  CtQuantizationConfig(CtConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string_view name() const override { return "compressed_tensors"; }
  std::string Describe() const override {
    std::string text = fmt::format("compressed-tensors {}", config_.format);
    for (const CtGroup& group : config_.groups) {
      if (!group.weights) continue;
      text += fmt::format(", w{}{}", group.weights->bits, group.weights->is_float ? "f" : "");
      if (group.inputs) text += fmt::format("a{}{}", group.inputs->bits, group.inputs->is_float ? "f" : "");
    }
    return config_.transforms.empty() ? text : text + ", online rotations";
  }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (!IsQuantized(layer)) return layer.has && IsSparse(layer) ? MakeSparseMethod() : nullptr;
    const CtGroup* group = config_.FindGroup(layer);
    if (!group || !group->weights) {
      return Corrupt("{}: {} has a weight_scale, but no config group that quantizes weights names it", where_, layer.name);
    }
    NIBBLE_TRY(const Form form, FormOf(layer, *group));
    std::vector<CtTransform> transforms;
    for (const CtTransform& transform : config_.transforms) {
      if (transform.targets.Rank(layer) > 0 && transform.ignore.Rank(layer) == 0) transforms.push_back(transform);
    }
    return std::make_shared<const CtLinearMethod>(*group, form, transforms);
  }

  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery&) const override {
    if (!config_.kv_cache) return nullptr;
    const CtArgs& args = *config_.kv_cache;
    if (args.bits == 8) return MakeKvScales(args.is_float ? KvFormats(DType::kE4M3) : StaticInt8Kv());
    Warn("{}: kv_cache_scheme of {} bits, {}: not applied, the cache keeps its own format; readable is 8 bits", where_, args.bits,
         args.is_float ? "float" : "int");
    return MakeKvScales(std::nullopt);
  }

  // Rotations of queries and keys alike change no score.
  std::vector<std::string_view> ignored_suffixes() const override {
    return {"_q_attn.weight", "_k_cache.weight", "_q_attn.perm", "_k_cache.perm"};
  }
  // Codes (whole bytes unless packed), and for each group or block a scale and, if asymmetric, a zero point. Scales are bfloat16
  // but for the one-byte ones of the small-block formats.
  double EstimateBits(const LayerQuery& layer) const override {
    const CtGroup* group = config_.FindGroup(layer);
    if (layer.kind == LayerKind::kAttention || !ConfigSays(layer) || !group) return 0;
    const CtArgs& args = *group->weights;
    const bool packed = group->format.find("pack") != std::string::npos || group->format.find("marlin") != std::string::npos;
    const double bits = packed ? static_cast<double>(args.bits) : 8;
    if (args.strategy == CtArgs::kTensorGroup) return bits + 8.0 / static_cast<double>(std::max<int64_t>(args.group_size, 1));
    const double scale = args.scale_dtype == "torch.uint8" || args.scale_dtype == "torch.float8_e4m3fn" ? 8 : 16;
    const double zero = args.symmetric || args.is_float ? 0 : bits;
    if (args.strategy == CtArgs::kGroup && args.group_size > 0) return bits + (scale + zero) / static_cast<double>(args.group_size);
    if (args.strategy == CtArgs::kBlock)
      return bits + (scale + zero) / static_cast<double>(std::max<int64_t>(args.block_n * args.block_k, 1));
    return bits;
  }

 private:
  // Lists of exceptions lose entries in some tool versions: a layer without stored scales is not quantized.
  bool IsQuantized(const LayerQuery& layer) const {
    return layer.has ? layer.has("weight_scale") || layer.has("scale_packed") : ConfigSays(layer);
  }
  bool ConfigSays(const LayerQuery& layer) const {
    if (config_.ignore.Rank(layer) > 0) return false;
    const CtGroup* group = config_.FindGroup(layer);
    return group && group->weights;
  }

  Result<Form> FormOf(const LayerQuery& layer, const CtGroup& group) const {
    const std::string& format = group.format;
    const bool integers = !group.weights->is_float;
    const bool micro = IsBlockFloat(*group.weights);
    static constexpr std::string_view kMicro[] = {
        "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp6-pack-quantized", "mxfp8-quantized",
        "mxfp8-pack-quantized", "float-quantized",      "naive-quantized",      ""};
    if (micro && std::find(std::begin(kMicro), std::end(kMicro), format) != std::end(kMicro)) return Form::kBlockFloats;
    if (format == "marlin-24" && integers) return Form::kMarlin24;
    if (format == "pack-quantized" && integers) return Form::kPacked;
    if ((format == "int-quantized" || format == "naive-quantized") && integers) return Form::kInts;
    if ((format == "float-quantized" || format == "naive-quantized") && !integers && !micro) return Form::kFloats;
    if (format.empty() && layer.has && !micro)
      return layer.has("weight_packed") ? Form::kPacked : integers ? Form::kInts : Form::kFloats;
    return Unsupported(
        "{}, config_groups \"{}\": format \"{}\" with {}-bit {} weights; readable are pack-quantized, int-quantized, "
        "float-quantized, naive-quantized, nvfp4-, mxfp4- and mxfp6-pack-quantized, mxfp8-quantized, marlin-24",
        where_, group.name, format, group.weights->bits, integers ? "int" : "float");
  }

  CtConfig config_;
  std::string where_;
};

Result<std::unique_ptr<QuantizationConfig>> FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(CtConfig config, CtConfig::Parse(json, source.where));
  return std::make_unique<CtQuantizationConfig>(std::move(config), source.where);
}

}  // namespace

const QuantizationEntry* compressed_tensors_method() {
  static const QuantizationEntry entry = {
      .name = "compressed_tensors",
      .quant_methods = {"compressed-tensors", "compressed_tensors"},
      .summary = "compressed-tensors: integers of 2 to 8 bits, FP8, NVFP4, MX, 2:4 sparse; quantized activations",
      .formats = {"int_group", "fp8", "block_float"},
      .makes = {"int_group", "fp8"},
      .checked = {"llm-compressor 0.14.0", "llm-compressor 0.8.1"},
      .from_config = FromConfig};
  return &entry;
}

}  // namespace nibble
