// SPDX-License-Identifier: Apache-2.0
#include "methods/auto_round/config.h"

#include <algorithm>

#include "methods/name_list.h"

namespace nibble {
namespace {

Result<AutoRoundData> ParseData(const std::string& name, const std::string& where) {
  // "nv_fp4_with_static_gs", "fp8_e4m3": what follows the family is told by other keys.
  if (name.starts_with("mx_int")) return AutoRoundData::kMxInt;
  if (name.starts_with("mx_fp")) return AutoRoundData::kMxFp;
  if (name.starts_with("nv_fp")) return AutoRoundData::kNvFp;
  if (name.starts_with("int")) return AutoRoundData::kInt;
  // "float" is what entries made from a preset say of activations that stay as they are.
  if (name.starts_with("fp") || name.starts_with("float") || name.starts_with("bf")) return AutoRoundData::kFp;
  return Unsupported("{}: data type \"{}\"; known are int, fp, mx_int, mx_fp, nv_fp", where, name);
}

constexpr const char* kDataNames[] = {"int", "fp", "mx_int", "mx_fp", "nv_fp"};

// A number of columns, or [rows, columns] of the blocks of FP8_BLOCK.
Status ParseGroup(const Json& json, const std::string& where, AutoRoundSettings& settings) {
  const Json* group = JsonFind(json, "group_size");
  if (group && group->is_array()) {
    if (group->size() != 2 || !(*group)[0].is_number_integer() || !(*group)[1].is_number_integer())
      return Corrupt("{}: group_size is {}, wanted a number or [rows, columns]", where, group->dump());
    settings.block_n = (*group)[0].get<int64_t>();
    settings.group_size = (*group)[1].get<int64_t>();
    if (settings.block_n > 0 && settings.group_size > 0) return {};
    return Corrupt("{}: group_size is {}, wanted positive numbers", where, group->dump());
  }
  NIBBLE_TRY_IN(where, settings.group_size, JsonInt(json, "group_size", settings.group_size));
  if (group) settings.block_n = 1;
  if (settings.group_size >= -1) return {};
  return Corrupt("{}: group_size is {}, wanted -1, 0 or a positive number", where, settings.group_size);
}

// Missing keys keep the value of `settings`.
Result<AutoRoundSettings> ParseAutoRoundSettings(const Json& json, const std::string& where, AutoRoundSettings settings) {
  NIBBLE_TRY_IN(where, settings.bits, JsonInt(json, "bits", settings.bits));
  NIBBLE_RETURN_IF_ERROR(ParseGroup(json, where, settings));
  NIBBLE_TRY_IN(where, settings.sym, JsonBool(json, "sym", settings.sym));
  NIBBLE_TRY_IN(where, settings.act_bits, JsonInt(json, "act_bits", settings.act_bits));
  NIBBLE_TRY_IN(where, settings.act_group_size, JsonInt(json, "act_group_size", settings.act_group_size));
  NIBBLE_TRY_IN(where, settings.act_sym, JsonBool(json, "act_sym", settings.act_sym));
  NIBBLE_TRY_IN(where, settings.act_dynamic, JsonBool(json, "act_dynamic", settings.act_dynamic));
  const auto name = [](AutoRoundData data) { return std::string(kDataNames[static_cast<size_t>(data)]); };
  NIBBLE_TRY_IN(where, const std::string data, JsonString(json, "data_type", name(settings.data)));
  NIBBLE_TRY(settings.data, ParseData(data, where));
  NIBBLE_TRY_IN(where, const std::string act, JsonString(json, "act_data_type", name(settings.act_data)));
  NIBBLE_TRY(settings.act_data, ParseData(act, where));
  settings.act_ceil = act.find("rceil") != act.npos;
  if (settings.bits < 1 || settings.bits > 32) return Corrupt("{}: bits is {}, wanted 2 to 8, or 16", where, settings.bits);
  return settings;
}

Result<AutoRoundPacking> ParsePacking(const Json& json, const std::string& where) {
  std::string text;
  for (const char* key : {"packing_format", "backend", "vllm_backend"}) {
    NIBBLE_TRY_IN(where, const std::string value, JsonString(json, key, ""));
    if (!value.empty() && value != "auto") text += value + " ";
  }
  const auto has = [&](const char* part) { return text.find(part) != text.npos; };
  if (has("gptqmodel")) return AutoRoundPacking::kGptqV2;
  if (has("gptq")) return AutoRoundPacking::kGptqV1;
  if (has("mlx")) return AutoRoundPacking::kMlx;
  if (has("awq")) return AutoRoundPacking::kAwq;
  if (has("llm_compressor") || has("fp8") || has("llmcompressor")) return AutoRoundPacking::kOther;
  return AutoRoundPacking::kGptqV2;
}

Status ParseBlocks(const Json& json, const std::string& where, std::vector<std::string>& blocks) {
  for (const char* key : {"block_name_to_quantize", "to_quant_block_names"}) {
    const Json* value = JsonFind(json, key);
    if (!value) continue;
    if (value->is_array()) {
      for (const Json& item : *value) {
        NIBBLE_TRY(const std::vector<std::string> names,
                   NameList(Json::object({{key, item.is_array() ? item : Json::array({item})}}), key, where));
        blocks.insert(blocks.end(), names.begin(), names.end());
      }
      continue;
    }
    if (!value->is_string()) return Corrupt("{}: {} is {}, wanted a name or a list", where, key, value->type_name());
    const std::string text = value->get<std::string>();  // "model.layers" or several with commas
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find(',', at), text.size());
      while (at < end && text[at] == ' ') ++at;
      if (end > at) blocks.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  return {};
}

// Python's re.search: anywhere in the name.
Result<NamePattern> CompileSearch(const std::string& expression, const std::string& where) {
  return NamePattern::Compile("(?s:.*?)(?:" + expression + ")", where);
}

Status ParseRules(const Json& json, const ConfigSource& source, AutoRoundConfig& config) {
  const Json* extra = JsonFind(json, "extra_config");
  if (!extra) return {};
  if (!extra->is_object()) return Corrupt("{}: extra_config is {}, wanted an object", source.where, extra->type_name());
  NIBBLE_TRY(const std::vector<std::string> names, KeyOrder(json, "extra_config", source));
  for (const std::string& name : names) {
    const std::string here = fmt::format("{}, extra_config \"{}\"", source.where, name);
    const Json& value = (*extra)[name];
    if (!value.is_object()) return Corrupt("{}: wanted an object, found {}", here, value.type_name());
    AutoRoundRule rule{.name = name};
    NIBBLE_TRY(rule.settings, ParseAutoRoundSettings(value, here, config.base));
    if (name.find_first_of("^$*+?{}[]\\|()") != name.npos) {
      NIBBLE_TRY(rule.pattern, CompileSearch(name, here));
    }
    config.rules.push_back(std::move(rule));
  }
  return {};
}

// Weights are stored turned; x is turned before it is quantized.
Status ParseRotation(const Json& json, const std::string& where, AutoRoundConfig& config) {
  const Json* rotation = JsonFind(json, "rotation_config");
  if (!rotation || rotation->empty()) return {};
  const std::string here = where + ", rotation_config";
  if (!rotation->is_object()) return Unsupported("{}: found {}, wanted an object", here, rotation->dump());
  NIBBLE_RETURN_IF_ERROR(CheckKeys(*rotation, here, {"algorithm", "hadamard_type", "block_size"},
                                   {"backend", "fuse_online_to_weight", "allow_online_rotation"}));
  NIBBLE_TRY_IN(here, const std::string algorithm, JsonString(*rotation, "algorithm", "hadamard"));
  NIBBLE_TRY_IN(here, const std::string type, JsonString(*rotation, "hadamard_type", "hadamard"));
  NIBBLE_TRY_IN(here, config.rotation, JsonInt(*rotation, "block_size", 32));
  config.random_rotation = type == "random_hadamard";
  if (algorithm != "hadamard" || (type != "hadamard" && !config.random_rotation))
    return Unsupported("{}: {} of type {}; known are hadamard and random_hadamard", here, algorithm, type);
  if (config.base.data != AutoRoundData::kMxFp && config.base.data != AutoRoundData::kNvFp)
    return Unsupported("{}: with data type {}; known are mx_fp and nv_fp", here, kDataNames[static_cast<size_t>(config.base.data)]);
  if (config.rotation > 0 && (config.rotation & (config.rotation - 1)) == 0) return {};
  return Corrupt("{}: block_size is {}, wanted a power of two", here, config.rotation);
}

Status CheckAutoRoundKeys(const Json& json, const std::string& where) {
  return CheckKeys(json, where,
                   {"quant_method", "bits", "group_size", "sym", "data_type", "packing_format", "backend", "vllm_backend",
                    "block_name_to_quantize", "to_quant_block_names", "extra_config", "act_bits", "act_group_size", "act_data_type",
                    "act_dynamic", "act_sym", "rotation_config"},
                   {"autoround_version",
                    "iters",
                    "lr",
                    "minmax_lr",
                    "enable_minmax_tuning",
                    "enable_quanted_input",
                    "enable_norm_bias_tuning",
                    "low_gpu_mem_usage",
                    "nsamples",
                    "seqlen",
                    "batch_size",
                    "gradient_accumulate_steps",
                    "scale_dtype",
                    "super_bits",
                    "super_group_size",
                    "static_attention_granularity",
                    "static_kv_granularity",
                    "static_kv_dtype",
                    "static_attention_dtype",
                    "amp",
                    "dataset",
                    "desc_act",
                    "provider",
                    "true_sequential",
                    "damp_percent",
                    "enable_alg_ext",
                    "quant_lm_head",
                    "supported_types",
                    "quant_block_list",
                    "not_use_best_mse",
                    "transformers_version",
                    "packed_modules_mapping",
                    "modules_to_not_convert",
                    "zero_point",
                    "version",
                    "format",
                    "regex_config",
                    "activation_scheme",
                    "fmt",
                    "weight_block_size"});
}

}  // namespace

Result<AutoRoundConfig> AutoRoundConfig::Parse(const Json& json, const ConfigSource& source) {
  AutoRoundConfig config;
  NIBBLE_RETURN_IF_ERROR(CheckAutoRoundKeys(json, source.where));
  NIBBLE_TRY(config.base, ParseAutoRoundSettings(json, source.where, {}));
  NIBBLE_RETURN_IF_ERROR(ParseRotation(json, source.where, config));
  NIBBLE_TRY(config.packing, ParsePacking(json, source.where));
  NIBBLE_RETURN_IF_ERROR(ParseBlocks(json, source.where, config.blocks));
  NIBBLE_RETURN_IF_ERROR(ParseRules(json, source, config));
  return config;
}

AutoRoundSettings AutoRoundConfig::Find(const LayerQuery& layer) const {
  const std::string& name = layer.name;
  for (const AutoRoundRule& rule : rules)
    if (rule.name == name || name.ends_with("." + rule.name)) return rule.settings;
  for (const AutoRoundRule& rule : rules)
    if (rule.pattern && (rule.pattern->Matches(name) || (!layer.fused_name.empty() && rule.pattern->Matches(layer.fused_name)))) {
      return rule.settings;
    }
  AutoRoundSettings plain = base;
  plain.bits = 16;
  if (layer.kind == LayerKind::kLmHead || layer.kind == LayerKind::kEmbedding || layer.kind == LayerKind::kAttention) return plain;
  for (const std::string& block : blocks)
    if (name.starts_with(block)) return base;
  return blocks.empty() ? base : plain;
}

}  // namespace nibble
