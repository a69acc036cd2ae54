// SPDX-License-Identifier: Apache-2.0
#include "methods/quark/config.h"

#include <fnmatch.h>

#include <algorithm>

namespace nibble {
namespace {

struct Element {
  std::string_view name;
  DType dtype;
  int bits;
  bool is_signed;
};
constexpr Element kElements[] = {
    {"fp8_e4m3", DType::kE4M3, 8, true}, {"fp8_e5m2", DType::kE5M2, 8, true}, {"fp6_e2m3", DType::kE2M3, 6, true},
    {"fp6_e3m2", DType::kE3M2, 6, true}, {"fp4", DType::kE2M1, 4, true},      {"int8", DType::kI8, 8, true},
    {"uint8", DType::kI8, 8, false},     {"int4", DType::kI8, 4, true},       {"uint4", DType::kI8, 4, false},
    {"int3", DType::kI8, 3, true},       {"int2", DType::kI8, 2, true},       {"bfloat16", DType::kNone, 16, true},
    {"float16", DType::kNone, 16, true}, {"float32", DType::kNone, 32, true}};

Status ParseScheme(const Json& json, const std::string& where, QuarkSpec& spec) {
  static constexpr std::string_view kSchemes[] = {"per_tensor", "per_channel", "per_group", "per_block"};
  NIBBLE_TRY_IN(where, const std::string name, JsonString(json, "qscheme", "per_tensor"));
  const auto found = std::find(std::begin(kSchemes), std::end(kSchemes), name);
  if (found == std::end(kSchemes)) return Unsupported("{}: qscheme \"{}\" is unknown", where, name);
  spec.scheme = static_cast<QuarkSpec::Scheme>(found - std::begin(kSchemes));
  NIBBLE_TRY_IN(where, spec.group, JsonInt(json, "group_size", 0));
  if (spec.scheme == QuarkSpec::kPerGroup && spec.group <= 0)
    return Corrupt("{}: qscheme per_group needs a positive group_size, found {}", where, spec.group);
  const Json* block = JsonFind(json, "block_size");
  if (spec.scheme != QuarkSpec::kPerBlock) return {};
  if (!block || !block->is_array() || block->size() != 2 || !(*block)[0].is_number_integer() || !(*block)[1].is_number_integer())
    return Corrupt("{}: qscheme per_block needs block_size [rows, columns], found {}", where, block ? block->dump() : "none");
  spec.block_n = (*block)[0].get<int64_t>();
  spec.block_k = (*block)[1].get<int64_t>();
  if (spec.block_n > 0 && spec.block_k > 0) return {};
  return Corrupt("{}: block_size is {}, wanted positive numbers", where, block->dump());
}

Result<QuarkSpec> ParseSpec(const Json& json, const std::string& where) {
  if (!json.is_object()) return Corrupt("{}: wanted an object, found {}", where, json.type_name());
  NIBBLE_RETURN_IF_ERROR(
      CheckKeys(json, where,
                {"dtype", "qscheme", "group_size", "block_size", "symmetric", "is_dynamic", "scale_format",
                 "scale_calculation_mode", "ch_axis", "mx_element_dtype", "is_scale_quant", "zero_point_type"},
                {"observer_cls", "round_method", "scale_type", "enable_buffer_reuse", "max_input_numel", "qat_spec"}));
  QuarkSpec spec;
  NIBBLE_TRY_IN(where, const std::string dtype, JsonString(json, "dtype", ""));
  const auto found = std::find_if(std::begin(kElements), std::end(kElements), [&](const Element& e) { return e.name == dtype; });
  if (found == std::end(kElements)) return Unsupported("{}: dtype \"{}\" is not read", where, dtype);
  spec.element = found->dtype;
  spec.bits = found->bits;
  spec.is_signed = found->is_signed;
  NIBBLE_RETURN_IF_ERROR(ParseScheme(json, where, spec));
  NIBBLE_TRY_IN(where, spec.symmetric, JsonBool(json, "symmetric", true));
  NIBBLE_TRY_IN(where, spec.dynamic, JsonBool(json, "is_dynamic", false));
  NIBBLE_TRY_IN(where, spec.scale_format, JsonString(json, "scale_format", ""));
  NIBBLE_TRY_IN(where, const std::string mode, JsonString(json, "scale_calculation_mode", "even"));
  if (mode == "floor") spec.mode = ActivationSpec::kPow2Floor;
  if (mode == "ceil") spec.mode = ActivationSpec::kPow2Ceil;
  return spec;
}

Result<QuarkSpecs> ParseSpecs(const Json& object, const char* key, const std::string& where) {
  QuarkSpecs specs;
  const Json* json = JsonFind(object, key);
  if (!json) return specs;
  const std::string here = fmt::format("{}, {}", where, key);
  if (!json->is_array()) {
    NIBBLE_TRY(QuarkSpec spec, ParseSpec(*json, here));
    if (spec.element != DType::kNone) specs.push_back(std::move(spec));
    return specs;
  }
  for (const Json& item : *json) {
    NIBBLE_TRY(QuarkSpec spec, ParseSpec(item, here));
    specs.push_back(std::move(spec));
  }
  if (specs.size() > 2) return Unsupported("{}: {} steps of quantization, known are 1 and 2", here, specs.size());
  return specs;
}

Result<QuarkLayer> ParseQuarkLayer(const Json& json, const std::string& where) {
  if (!json.is_object()) return Corrupt("{}: wanted an object, found {}", where, json.type_name());
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where, {"weight", "input_tensors", "output_tensors", "bias"}, {"target_device"}));
  QuarkLayer layer;
  NIBBLE_TRY(layer.weight, ParseSpecs(json, "weight", where));
  NIBBLE_TRY(layer.input, ParseSpecs(json, "input_tensors", where));
  NIBBLE_TRY(layer.output, ParseSpecs(json, "output_tensors", where));
  if (const Json* bias = JsonFind(json, "bias")) return Unsupported("{}: quantized bias {} is not read", where, bias->dump());
  return layer;
}

Status ParseQuarkLayers(const Json& json, const ConfigSource& source, QuarkConfig& config) {
  const std::string& where = source.where;
  const Json* global = JsonFind(json, "global_quant_config");
  if (global) {
    NIBBLE_TRY(config.global, ParseQuarkLayer(*global, where + ", global_quant_config"));
  }
  if (const Json* layers = JsonFind(json, "layer_quant_config"); layers && layers->is_object()) {
    NIBBLE_TRY(const std::vector<std::string> patterns, KeyOrder(json, "layer_quant_config", source));
    for (const std::string& pattern : patterns) {
      NIBBLE_TRY(QuarkLayer parsed,
                 ParseQuarkLayer((*layers)[pattern], fmt::format("{}, layer_quant_config \"{}\"", where, pattern)));
      config.layers.emplace_back(pattern, std::move(parsed));
    }
  }
  const Json* types = JsonFind(json, "layer_type_quant_config");
  const Json* linear = types && types->is_object() ? JsonFind(*types, "Linear") : nullptr;
  if (!linear && types && types->is_object()) linear = JsonFind(*types, "nn.Linear");
  if (!linear) return {};
  NIBBLE_TRY(config.linear, ParseQuarkLayer(*linear, where + ", layer_type_quant_config"));
  return {};
}

Status ParseQuarkExcluded(const Json& json, const std::string& where, QuarkConfig& config) {
  const Json* names = JsonFind(json, "exclude");
  if (!names) return {};
  if (!names->is_array()) return Corrupt("{}: exclude is {}, wanted a list", where, names->type_name());
  for (const Json& name : *names) {
    if (!name.is_string()) return Corrupt("{}: exclude holds {}, wanted names", where, name.type_name());
    const std::string text = name.get<std::string>();
    if (!text.starts_with("re:")) {
      config.excluded.push_back(text);
      continue;
    }
    NIBBLE_TRY(NamePattern pattern, NamePattern::Compile(std::string_view(text).substr(3), where + ", exclude"));
    config.excluded_patterns.push_back(std::move(pattern));
  }
  return {};
}

Status ParseExport(const Json& json, const std::string& where, QuarkConfig& config) {
  if (const Json* settings = JsonFind(json, "export"); settings && settings->is_object()) {
    NIBBLE_TRY_IN(where, const std::string method, JsonString(*settings, "pack_method", "reorder"));
    config.reorder = method == "reorder";
    NIBBLE_TRY_IN(where, const std::string form, JsonString(*settings, "weight_format", "real_quantized"));
    if (form != "real_quantized") return Unsupported("{}, export: weight_format \"{}\"; readable is real_quantized", where, form);
  }
  for (const auto& [pattern, layer] : config.layers)  // before 0.10
    if (pattern.ends_with("k_proj")) config.kv_output = layer.output;
  const Json* kv = JsonFind(json, "kv_cache_quant_config");
  if (!kv || !kv->is_object()) return {};
  for (const auto& [pattern, value] : kv->items()) {
    NIBBLE_TRY(const QuarkLayer layer, ParseQuarkLayer(value, fmt::format("{}, kv_cache_quant_config \"{}\"", where, pattern)));
    if (!layer.output.empty()) config.kv_output = layer.output;
  }
  return {};
}

bool Matches(const std::string& pattern, const std::string& name) {
  return !name.empty() && fnmatch(pattern.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
}

}  // namespace

Result<QuarkConfig> QuarkConfig::Parse(const Json& json, const ConfigSource& source) {
  const std::string& where = source.where;
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where,
                                   {"quant_method", "global_quant_config", "layer_quant_config", "layer_type_quant_config",
                                    "exclude", "export", "kv_cache_quant_config", "softmax_quant_spec"},
                                   {"algo_config", "quant_mode", "version", "kv_cache_post_rope", "kv_cache_group", "min_kv_scale",
                                    "log_severity_level", "quant_algo"}));
  QuarkConfig config;
  NIBBLE_RETURN_IF_ERROR(ParseQuarkLayers(json, source, config));
  NIBBLE_RETURN_IF_ERROR(ParseQuarkExcluded(json, where, config));
  NIBBLE_RETURN_IF_ERROR(ParseExport(json, where, config));
  if (JsonFind(json, "softmax_quant_spec")) return Unsupported("{}: softmax_quant_spec: quantized attention is not run", where);
  return config;
}

bool QuarkConfig::Excludes(const LayerQuery& layer) const {
  const auto names = [&](const std::string& entry) { return Matches(entry, layer.name) || Matches(entry, layer.fused_name); };
  const auto matches = [&](const NamePattern& pattern) { return pattern.Matches(layer.name); };
  return std::any_of(excluded.begin(), excluded.end(), names) ||
         std::any_of(excluded_patterns.begin(), excluded_patterns.end(), matches);
}

const QuarkLayer& QuarkConfig::LayerOf(const LayerQuery& layer) const {
  for (const auto& [pattern, settings] : layers) {
    if (Matches(pattern, layer.name) || Matches(pattern, layer.fused_name)) return settings;
  }
  return linear ? *linear : global;
}

}  // namespace nibble
