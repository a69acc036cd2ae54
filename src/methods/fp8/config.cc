// SPDX-License-Identifier: Apache-2.0
#include "methods/fp8/config.h"

#include <algorithm>

namespace nibble {
namespace {

Status CheckFp8Keys(const Json& json, const std::string& where) {
  return CheckKeys(json, where,
                   {"quant_method", "method", "activation_scheme", "ignored_layers", "modules_to_not_convert", "weight_block_size",
                    "fmt", "scale_fmt", "kv_cache_scheme", "checkpoint_format", "format", "bits", "weight_scale_method",
                    "weight_scale_semantics", "dynamic", "store_dtype", "activation_scale_ub"},
                   {"dequantize", "modules_to_convert", "expert_dtype", "group_size", "lm_head", "desc_act", "meta", "pack_dtype",
                    "sym", "packed_modules_mapping", "provider", "true_sequential"});
}

Status ParseFp8Block(const Json& json, const std::string& where, Fp8Config& config) {
  const Json* block = JsonFind(json, "weight_block_size");
  if (!block) return {};
  if (!block->is_array() || block->size() != 2 || !(*block)[0].is_number_integer() || !(*block)[1].is_number_integer()) {
    return Corrupt("{}: weight_block_size is {}, wanted two integers", where, block->dump());
  }
  config.block_n = (*block)[0].get<int64_t>();
  config.block_k = (*block)[1].get<int64_t>();
  if (config.block_n > 0 && config.block_k > 0) return {};
  return Corrupt("{}: weight_block_size is {}, wanted positive numbers", where, block->dump());
}

Status ParseIgnored(const Json& json, const std::string& where, Fp8Config& config) {
  for (const char* key : {"ignored_layers", "modules_to_not_convert"}) {
    const Json* names = JsonFind(json, key);
    if (!names) continue;
    if (!names->is_array()) return Corrupt("{}: {} is {}, wanted a list", where, key, names->type_name());
    for (const Json& name : *names) {
      if (!name.is_string()) return Corrupt("{}: {} holds {}, wanted names", where, key, name.type_name());
      config.ignored.push_back(name.get<std::string>());
    }
  }
  // GPTQModel's exceptions by module; only skips have a meaning for FP8.
  if (const Json* dynamic = JsonFind(json, "dynamic"); dynamic && dynamic->is_object()) {
    for (const auto& [key, value] : dynamic->items()) {
      if (!key.starts_with("-:")) continue;
      NIBBLE_TRY(NamePattern pattern, NamePattern::Compile(std::string_view(key).substr(2), where + ", dynamic"));
      config.ignored_patterns.push_back(std::move(pattern));
    }
  }
  return {};
}

Status ParseFp8Activations(const Json& json, const std::string& where, Fp8Config& config) {
  NIBBLE_TRY_IN(where, const std::string scheme, JsonString(json, "activation_scheme", ""));
  NIBBLE_TRY_IN(where, const std::string method, JsonString(json, "quant_method", ""));
  if (method == "fbgemm_fp8" || method == "ptpc_fp8") config.activations = Fp8Config::kDynamic;  // always per token
  if (const Json* bound = JsonFind(json, "activation_scale_ub"); bound && bound->is_number())
    config.upper_bound = bound->get<float>();
  if (scheme == "dynamic")
    config.activations = Fp8Config::kDynamic;
  else if (scheme == "static")
    config.activations = Fp8Config::kStatic;
  else if (!scheme.empty())
    return Corrupt("{}: activation_scheme is \"{}\", wanted static or dynamic", where, scheme);
  if (config.activations == Fp8Config::kStatic && config.block_n > 0) {
    return Corrupt("{}: activation_scheme static contradicts weight_block_size: block scales need dynamic activations", where);
  }
  return {};
}

// The text under `key`, which must be one of `allowed`; the first of them when absent.
Result<std::string> OneOf(const Json& json, const std::string& where, const char* key,
                          std::initializer_list<std::string_view> allowed) {
  Result<std::string> text = JsonString(json, key, std::string(*allowed.begin()));
  if (!text || std::find(allowed.begin(), allowed.end(), *text) != allowed.end()) return text;
  std::string names;
  for (const std::string_view name : allowed) names += fmt::format(" {}", name.empty() ? "(none)" : name);
  return Unsupported("{}: {} is \"{}\"; readable are{}", where, key, *text, names);
}

Status ParseFp8Format(const Json& json, const std::string& where, Fp8Config& config) {
  NIBBLE_RETURN_IF_ERROR(
      OneOf(json, where, "fmt", {"e4m3", "e4m3fn", "float8_e4m3fn", "e5m2", "float8_e5m2"}));  // the tensors' dtype tells
  NIBBLE_TRY(const std::string scale_format, OneOf(json, where, "scale_fmt", {"", "float", "ue8m0"}));
  config.pow2_scales = scale_format == "ue8m0";
  NIBBLE_RETURN_IF_ERROR(OneOf(json, where, "store_dtype", {"", "fp8", "mxfp4"}));  // of experts; the tensors' dtype tells
  NIBBLE_TRY(const std::string semantics, OneOf(json, where, "weight_scale_semantics", {"", "scale", "inverse"}));
  config.inverse = semantics == "inverse";
  NIBBLE_TRY_IN(where, const std::string method, JsonString(json, "weight_scale_method", ""));
  if (method == "block" && config.block_n == 0) config.block_n = config.block_k = 128;
  if (const Json* kv = JsonFind(json, "kv_cache_scheme")) {
    const std::string text = kv->dump();
    config.kv_cache = kv->is_object() ? kv->value("type", "") == "float" : text.find("fp8") != std::string::npos;
  }
  return {};
}

}  // namespace

Result<Fp8Config> Fp8Config::Parse(const Json& json, const std::string& where) {
  Fp8Config config;
  NIBBLE_RETURN_IF_ERROR(CheckFp8Keys(json, where));
  NIBBLE_RETURN_IF_ERROR(ParseFp8Block(json, where, config));
  NIBBLE_RETURN_IF_ERROR(ParseIgnored(json, where, config));
  NIBBLE_RETURN_IF_ERROR(ParseFp8Activations(json, where, config));
  NIBBLE_RETURN_IF_ERROR(ParseFp8Format(json, where, config));
  return config;
}

}  // namespace nibble
