// SPDX-License-Identifier: Apache-2.0
// compressed-tensors: which scheme a layer has, and what it adds to the stored forms of weights.h: activations, online rotations.
#include <algorithm>

#include "base/log.h"
#include "formats/transform.h"
#include "methods/compressed_tensors/config.h"
#include "methods/compressed_tensors/rotations.h"
#include "methods/compressed_tensors/sparse.h"
#include "methods/compressed_tensors/uncompressed.h"
#include "methods/compressed_tensors/weights.h"
#include "methods/kv_scales.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

// kUncompressed: floats that are still to be quantized; kDense: floats that stay so.
enum class Form : uint8_t { kPacked, kInts, kFloats, kBlockFloats, kMarlin24, kUncompressed, kDense };

Result<StoredWeight> MakePlain(const BoundParams& bound, const CtArgs&) {
  const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
  NIBBLE_TRY(const TensorView view, RequireParam(params, "weight", {params.n, params.k}));
  return MakeDense(view, params.origin("weight"), params.Keep("weight"));
}

class CtLinearMethod : public LinearMethod {
 public:
  CtLinearMethod(CtGroup group, Form form, std::vector<CtTransform> transforms, std::shared_ptr<const CtRotations> rotations)
      : group_(std::move(group)), form_(form), transforms_(std::move(transforms)), rotations_(std::move(rotations)) {
    for (const CtTransform& transform : transforms_)
      for (const char* what : {"weight", "perm"}) stored_.push_back(CtRotationSuffix(transform, what));
  }

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> zeros = {DType::kI8, DType::kI32, DType::kE4M3}, indices = {DType::kI32, DType::kI64};
    const std::vector<DType> scales = {DType::kBF16, DType::kF16, DType::kF32, DType::kE8M0, DType::kE4M3, DType::kU8};
    std::vector<ParamDecl> params = WeightParams(scales);
    const bool scaled = form_ != Form::kMarlin24 && form_ != Form::kDense;
    params.push_back({"weight_scale", scales, ParamDecl::kGroupScale, scaled});
    params.push_back({"weight_zero_point", zeros, ParamDecl::kZeroPoint, false});
    params.push_back({"weight_g_idx", indices, ParamDecl::kGroupIndex, false});
    params.push_back({"input_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"input_global_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"input_zero_point", {DType::kI8, DType::kI32, DType::kE4M3}, ParamDecl::kZeroPoint, false});
    params.push_back({"output_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"output_global_scale", scales, ParamDecl::kTensorScale, false});
    params.push_back({"output_zero_point", {DType::kI8, DType::kI32, DType::kE4M3}, ParamDecl::kMeta, false});
    for (const std::string& name : stored_) {
      params.push_back({name, {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI64}, ParamDecl::kTransform, false});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    static constexpr Result<StoredWeight> (*kMake[])(const BoundParams&, const CtArgs&) = {
        MakePackedInts, MakeInts, MakeFloats, MakeBlockFloats, MakeMarlin24, MakeUncompressed, MakePlain};
    const auto make = kMake[static_cast<int>(form_)];
    const CtArgs args = group_.weights.value_or(CtArgs());
    const auto expand = [&](const BoundParams& whole) { return make(whole, args); };
    if (form_ != Form::kBlockFloats && form_ != Form::kUncompressed && params.Find("weight_global_scale"))
      Warn("{}: weight_global_scale has no part in {} weights, as the tool reads them", params.name,
           args.is_float ? "such" : "integer");
    NIBBLE_TRY(StoredWeight weight, IsSparse(params) ? ExpandSparse(params, expand) : make(params, args));
    NIBBLE_RETURN_IF_ERROR(AddRotations(params.name, weight));
    NIBBLE_RETURN_IF_ERROR(CheckTransforms(weight.in, weight.k));
    NIBBLE_RETURN_IF_ERROR(CheckTransforms(weight.out, weight.n));
    NIBBLE_TRY(const ActivationSpec act, MakeActivations(params, group_.inputs, "input"));
    LinearPart part = FinishPart(std::move(weight), act);
    NIBBLE_TRY(part.out_act, MakeActivations(params, group_.outputs, "output"));
    return part;
  }

 private:
  Status AddRotations(const std::string& name, StoredWeight& weight) const {
    for (const CtTransform& transform : transforms_) {
      NIBBLE_TRY(CtRotation rotation, rotations_->Make(transform, name, transform.output ? weight.n : weight.k));
      (transform.output ? weight.out : weight.in).push_back(rotation.transform);
      for (auto& keep : rotation.keep)
        if (keep) weight.keep.push_back(std::move(keep));
    }
    return {};
  }

  std::vector<ParamDecl> WeightParams(const std::vector<DType>& scales) const {
    const std::vector<DType> words = {DType::kI32, DType::kU32}, indices = {DType::kI32, DType::kI64};
    std::vector<ParamDecl> params;
    switch (form_) {
      case Form::kPacked:
        return {{"weight_packed", words, ParamDecl::kPacked, true},
                {"weight_shape", indices, ParamDecl::kMeta, false},
                {"weight_global_scale", scales, ParamDecl::kTensorScale, false}};
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
      case Form::kUncompressed:
      case Form::kDense: params = {{"weight", {DType::kF32, DType::kBF16, DType::kF16}, ParamDecl::kWeight, false}}; break;
      case Form::kInts: params = {{"weight", {DType::kI8}, ParamDecl::kWeight, false}}; break;
      case Form::kFloats: params = {{"weight", {DType::kE4M3, DType::kE5M2}, ParamDecl::kWeight, false}}; break;
    }
    params.push_back({"weight_global_scale", scales, ParamDecl::kTensorScale, false});
    for (ParamDecl& param : SparseParams()) params.push_back(std::move(param));
    return params;
  }

  CtGroup group_;
  Form form_;
  std::vector<CtTransform> transforms_;
  std::shared_ptr<const CtRotations> rotations_;
  std::vector<std::string> stored_;  // names of matrices that may be stored with this module
};

class CtQuantizationConfig : public QuantizationConfig {
 public:
  CtQuantizationConfig(CtConfig config, const ConfigSource& source)
      : config_(std::move(config)),
        where_(source.where),
        rotations_(std::make_shared<const CtRotations>(config_.transforms, source.tensors)) {}

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
    std::vector<CtTransform> transforms;
    for (const CtTransform& transform : config_.transforms)
      if (transform.targets.Rank(layer) > 0 && transform.ignore.Rank(layer) == 0) transforms.push_back(transform);
    const CtGroup* group = config_.FindGroup(layer);
    if (!IsQuantized(layer)) {
      if (layer.has && IsSparse(layer)) return MakeSparseMethod();
      const bool acts = group && !group->weights && (group->inputs || group->outputs) && config_.ignore.Rank(layer) == 0;
      if (!acts && transforms.empty()) return nullptr;
      return std::make_shared<const CtLinearMethod>(acts ? *group : CtGroup(), Form::kDense, std::move(transforms), rotations_);
    }
    if (!group || !group->weights) {
      return Corrupt("{}: {} has a weight_scale, but no config group that quantizes weights names it", where_, layer.name);
    }
    NIBBLE_TRY(const Form form, FormOf(layer, *group));
    return std::make_shared<const CtLinearMethod>(*group, form, std::move(transforms), rotations_);
  }

  Result<std::shared_ptr<const KvCacheMethod>> GetKvCacheMethod(const LayerQuery&) const override {
    // AutoRound's FP8_BLOCK writes k_scale and v_scale and loses the scheme: its own loader then quantizes no cache.
    if (!config_.kv_cache) return MakeKvScales(std::nullopt);
    const CtArgs& args = *config_.kv_cache;
    if (config_.turns_keys) {
      Warn(
          "{}: kv_cache_scheme quantizes keys that transform_config turned after their positions were; not applied, the cache "
          "keeps "
          "its own format",
          where_);
      return MakeKvScales(std::nullopt);
    }
    const bool scaled = args.strategy == CtArgs::kTensor || args.strategy == CtArgs::kAttentionHead;
    if (args.bits == 8 && scaled && args.dynamic == CtArgs::kStatic)
      return MakeKvScales(args.is_float ? KvFormats(DType::kE4M3) : StaticInt8Kv());
    Warn(
        "{}: kv_cache_scheme of {} bits, {}, {}: not applied, the cache keeps its own format; readable is 8 bits, static, by "
        "tensor "
        "or attn_head",
        where_, args.bits, args.is_float ? "float" : "int", args.dynamic == CtArgs::kStatic ? "static" : "dynamic");
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

  // Exponents kept as e4m3 numbers, and numbers below 1 kept as whole ones: what a group size of the other format makes of the
  // scales.
  static bool LosesScales(const CtArgs& weights, const std::string& format) {
    if (!weights.is_float || weights.bits != 4) return false;
    if (format == "mxfp4-pack-quantized") return weights.strategy == CtArgs::kTensorGroup;
    return format == "nvfp4-pack-quantized" && weights.scale_dtype == "torch.uint8";
  }
  Result<Form> FormOf(const LayerQuery& layer, const CtGroup& group) const {
    const std::string& format = group.format;
    const bool integers = !group.weights->is_float;
    const bool micro = IsBlockFloat(*group.weights);
    static constexpr std::string_view kMicro[] = {
        "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp6-pack-quantized", "mxfp8-quantized",
        "mxfp8-pack-quantized", "float-quantized",      "naive-quantized",      ""};
    // Three names of one form, whatever the type of the codes.
    const bool bytes = format == "int-quantized" || format == "float-quantized" || format == "naive-quantized";
    if (format == "dense") return config_.uncompressed ? Form::kUncompressed : Form::kDense;
    if (LosesScales(*group.weights, format))
      return Unsupported(
          "{}, config_groups \"{}\": format \"{}\" with strategy {} and scale_dtype \"{}\": llm-compressor rounds these "
          "scales away when it saves; quantize again as preset NVFP4A16 or MXFP4A16",
          where_, group.name, format, group.weights->strategy == CtArgs::kTensorGroup ? "tensor_group" : "group",
          group.weights->scale_dtype);
    if (micro && std::find(std::begin(kMicro), std::end(kMicro), format) != std::end(kMicro)) return Form::kBlockFloats;
    if (format == "marlin-24" && integers) return Form::kMarlin24;
    if (format == "pack-quantized" && integers) return Form::kPacked;
    if (bytes && !micro) return integers ? Form::kInts : Form::kFloats;
    if (format.empty() && layer.has && !micro)
      return layer.has("weight_packed") ? Form::kPacked : integers ? Form::kInts : Form::kFloats;
    return Unsupported(
        "{}, config_groups \"{}\": format \"{}\" with {}-bit {} weights; readable are pack-quantized, int-quantized, "
        "float-quantized, naive-quantized, nvfp4-, mxfp4- and mxfp6-pack-quantized, mxfp8-quantized, marlin-24, dense; save the "
        "model "
        "again without naming a format",
        where_, group.name, format, group.weights->bits, integers ? "int" : "float");
  }

  CtConfig config_;
  std::string where_;
  std::shared_ptr<const CtRotations> rotations_;
};

Result<std::unique_ptr<QuantizationConfig>> CompressedTensorsFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(CtConfig config, CtConfig::Parse(json, source.where));
  return std::make_unique<CtQuantizationConfig>(std::move(config), source);
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
      .from_config = CompressedTensorsFromConfig};
  return &entry;
}

}  // namespace nibble
