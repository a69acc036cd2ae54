// SPDX-License-Identifier: Apache-2.0
#include "methods/modelopt/config.h"

#include <fnmatch.h>

#include <algorithm>
#include <cctype>

#include "base/nearest_names.h"

namespace nibble {
namespace {

using A = ModelOptAlgo;

// Aliases share a meaning. FP8_PB_WO files are weight-only; MX activations have scales of their own.
constexpr A kAlgos[] = {{"fp8", A::kFp8, A::kFp8Static, 8},
                        {"fp8_per_channel_per_token", A::kFp8, A::kFp8Token, 8},
                        {"fp8_pc_pt", A::kFp8, A::kFp8Token, 8},
                        {"fp8_pb_wo", A::kFp8, A::kFloat, 8},
                        {"fp8_pb_real", A::kFp8, A::kFloat, 8},
                        {"nvfp4", A::kNvfp4, A::kNvfp4Local, 4.5},
                        {"nvfp4_awq", A::kNvfp4, A::kNvfp4Local, 4.5},
                        {"nvfp4_svd", A::kNvfp4, A::kNvfp4Local, 4.5},
                        {"nvfp4_svdquant", A::kNvfp4, A::kNvfp4Local, 4.5},
                        {"w4a16_nvfp4", A::kNvfp4, A::kFloat, 4.5},
                        {"w4a8_nvfp4_fp8", A::kNvfp4, A::kFp8Static, 4.25},
                        {"w4a16_awq", A::kInt4, A::kFloat, 4.25},
                        {"int4_awq", A::kInt4, A::kFloat, 4.25},
                        {"w4a8_awq", A::kInt4, A::kFp8Static, 4.25},
                        {"w8a16", A::kInt8, A::kFloat, 8},
                        {"int8_wo", A::kInt8, A::kFloat, 8},
                        {"w8a8_sq_per_channel", A::kInt8, A::kInt8Static, 8},
                        {"int8_sq", A::kInt8, A::kInt8Static, 8},
                        {"mxfp8", A::kMxfp8, A::kMx, 8.25},
                        {"mxfp4", A::kMxfp4, A::kMx, 4.25},
                        {"w4a8_mxfp4_fp8", A::kMxfp4, A::kFp8Tensor, 4.25}};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Result<const A*> FindAlgo(const std::string& name, const std::string& where) {
  const std::string lower = Lower(name);
  std::vector<std::string_view> names;
  for (const A& algo : kAlgos) {
    if (algo.name == lower) return &algo;
    names.push_back(algo.name);
  }
  return Unsupported("{}: quant_algo \"{}\" is unknown; nearest: {}", where, name, NearestNames(lower, names));
}

bool Excludes(const std::string& entry, const std::string& name) {
  if (name.empty()) return false;
  if (entry.find_first_of("*?[") == std::string::npos) return name.find(entry) != std::string::npos;
  return fnmatch(entry.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
}

Status ParseModelOptLayers(const Json& json, const std::string& where, ModelOptConfig& config) {
  const Json* layers = JsonFind(json, "quantized_layers");
  if (!layers || !layers->is_object() || layers->empty())
    return Corrupt("{}: quant_algo MIXED_PRECISION needs quantized_layers, an object with the scheme of each layer", where);
  for (const auto& [name, layer] : layers->items()) {
    const std::string here = fmt::format("{}, quantized_layers \"{}\"", where, name);
    if (!layer.is_object()) return Corrupt("{}: wanted an object, found {}", here, layer.type_name());
    NIBBLE_RETURN_IF_ERROR(
        CheckKeys(layer, here, {"quant_algo", "group_size"}, {"awq_block_size", "has_zero_point", "pre_quant_scale"}));
    NIBBLE_TRY_IN(here, const std::string algo, JsonString(layer, "quant_algo", ""));
    NIBBLE_TRY(config.layers[name], FindAlgo(algo, here));
  }
  return {};
}

Status ParseModelOptExcluded(const Json& json, const std::string& where, ModelOptConfig& config) {
  for (const char* key : {"exclude_modules", "ignore"}) {
    const Json* names = JsonFind(json, key);
    if (!names) continue;
    if (!names->is_array()) return Corrupt("{}: {} is {}, wanted a list", where, key, names->type_name());
    for (const Json& name : *names) {
      if (!name.is_string()) return Corrupt("{}: {} holds {}, wanted names", where, key, name.type_name());
      config.excluded.push_back(name.get<std::string>());
    }
  }
  return {};
}

// kv_cache_scheme of config.json: an object for FP8, else a name; kv_cache_quant_algo of the file beside it: a name.
Status ParseKvCache(const Json& json, const std::string& where, ModelOptConfig& config) {
  for (const char* key : {"kv_cache_scheme", "kv_cache_quant_algo"}) {
    const Json* kv = JsonFind(json, key);
    if (!kv) continue;
    if (!kv->is_object() && !kv->is_string())
      return Corrupt("{}: {} is {}, wanted an object or a name", where, key, kv->type_name());
    const bool fp8_object = kv->is_object() && kv->value("type", "") == "float" && kv->value("num_bits", 0) == 8;
    config.kv_name = kv->is_string() ? kv->get<std::string>() : fp8_object ? "FP8" : kv->dump();
    const std::string name = Lower(config.kv_name);
    config.kv_cache = name == "fp8" || name == "fp8_affine"       ? ModelOptConfig::kFp8Kv
                      : name == "nvfp4" || name == "nvfp4_affine" ? ModelOptConfig::kNvfp4Kv
                                                                  : ModelOptConfig::kOtherKv;
  }
  return {};
}

}  // namespace

Result<ModelOptConfig> ModelOptConfig::Parse(const Json& top, const std::string& top_where) {
  NIBBLE_RETURN_IF_ERROR(
      CheckKeys(top, top_where,
                {"quant_method", "quant_algo", "ignore", "exclude_modules", "kv_cache_scheme", "quantization", "quantized_layers",
                 "kv_cache_quant_algo"},
                {"producer", "config_groups", "group_size", "has_zero_point", "pre_quant_scale", "smoothquant_val"}));
  const Json* inner = JsonFind(top, "quantization");  // hf_quant_config.json
  if (inner && !inner->is_object()) return Corrupt("{}: quantization is {}, wanted an object", top_where, inner->type_name());
  const Json& json = inner ? *inner : top;
  const std::string where = inner ? top_where + ", quantization" : top_where;
  ModelOptConfig config;
  NIBBLE_TRY_IN(where, const std::string algo, JsonString(json, "quant_algo", ""));
  if (algo.empty() && JsonFind(json, "quantized_layers") == nullptr)
    return Corrupt("{}: quant_algo is missing; it names the scheme of the weights (FP8, NVFP4, W4A16_AWQ ...)", where);
  if (algo.empty() || Lower(algo) == "mixed_precision") {
    NIBBLE_RETURN_IF_ERROR(ParseModelOptLayers(json, where, config));
  } else {
    NIBBLE_TRY(config.algo, FindAlgo(algo, where));
  }
  NIBBLE_RETURN_IF_ERROR(ParseModelOptExcluded(json, where, config));
  NIBBLE_RETURN_IF_ERROR(ParseKvCache(json, where, config));
  const auto attention = [](const std::string& name) { return name.find("self_attn") != std::string::npos; };
  config.mxfp4_weights_only =
      config.algo && config.algo->name == "mxfp4" && std::any_of(config.excluded.begin(), config.excluded.end(), attention);
  return config;
}

ModelOptAlgo ModelOptConfig::RunAs(ModelOptAlgo layer) const {
  if (mxfp4_weights_only && layer.weights == A::kMxfp4) layer.activations = A::kFloat;
  return layer;
}

const ModelOptAlgo* ModelOptConfig::AlgoOf(const LayerQuery& layer) const {
  if (algo) {
    if (layer.kind == LayerKind::kEmbedding) return nullptr;
    const auto excludes = [&](const std::string& entry) {
      return Excludes(entry, layer.name) || Excludes(entry, layer.fused_name);
    };
    return std::any_of(excluded.begin(), excluded.end(), excludes) ? nullptr : algo;
  }
  // The whole name, then every block that holds the layer ("model.layers.0.mlp.experts" for an expert's matrix).
  for (const std::string& name : {layer.name, layer.fused_name}) {
    for (size_t end = name.size(); end != std::string::npos && end > 0; end = name.rfind('.', end - 1)) {
      if (const auto found = layers.find(name.substr(0, end)); found != layers.end()) return found->second;
    }
  }
  return nullptr;
}

}  // namespace nibble
