// SPDX-License-Identifier: Apache-2.0
#include "methods/hqq/config.h"

#include "methods/name_list.h"

namespace nibble {
namespace {

constexpr int64_t kMaxExtent = 1 << 24;  // of a matrix

// quant_config as hqq writes it: weight_quant_params and what is null nowadays.
Result<HqqSettings> ParseHqqSettings(const Json& json, const std::string& where) {
  const Json* params = JsonFind(json, "weight_quant_params");
  if (!params || !params->is_object()) return Corrupt("{}: weight_quant_params is missing (wanted an object)", where);
  NIBBLE_RETURN_IF_ERROR(
      CheckKeys(*params, where, {"nbits", "group_size", "axis", "channel_wise", "view_as_float", "optimize", "round_zero"}, {}));
  for (const char* key : {"scale_quant_params", "zero_quant_params"}) {
    if (JsonFind(json, key)) {
      return Unsupported("{}: {}: quantized scales, which hqq has deprecated; readable are plain ones", where, key);
    }
  }
  HqqSettings settings;
  NIBBLE_TRY_IN(where, settings.bits, JsonInt(*params, "nbits"));
  NIBBLE_TRY_IN(where, settings.group_size, JsonInt(*params, "group_size", -1));
  NIBBLE_TRY_IN(where, settings.axis, JsonInt(*params, "axis", 1));
  if (settings.bits < 1 || settings.bits > 8) return Corrupt("{}: nbits is {}, wanted 1 to 8", where, settings.bits);
  if (settings.axis != 0 && settings.axis != 1) return Corrupt("{}: axis is {}, wanted 0 or 1", where, settings.axis);
  return settings;
}

// [n, k] of a module; left at 0 where there is none.
Status ParseShape(const Json& data, const std::string& where, HqqSettings& settings) {
  const Json* shape = JsonFind(data, "shape");
  if (!shape) return {};
  const auto extent = [](const Json& value) {
    return value.is_number_integer() && value.get<int64_t>() > 0 && value.get<int64_t>() < kMaxExtent;
  };
  if (!shape->is_array() || shape->size() != 2 || !extent((*shape)[0]) || !extent((*shape)[1])) {
    return Corrupt("{}: shape is {}, wanted two numbers", where, shape->dump());
  }
  settings.n = (*shape)[0].get<int64_t>();
  settings.k = (*shape)[1].get<int64_t>();
  return {};
}

}  // namespace

Result<HqqConfig> HqqConfig::Parse(const Json& json, const std::string& where) {
  HqqConfig config;
  const Json* quant = JsonFind(json, "quant_config");
  if (!quant) return config;
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where, {"quant_method", "quant_config", "skip_modules"}, {"packed_modules_mapping"}));
  if (!quant->is_object()) return Corrupt("{}: quant_config is {}, wanted an object", where, quant->type_name());
  config.stated = true;
  if (quant->contains("weight_quant_params")) {
    NIBBLE_TRY(config.base, ParseHqqSettings(*quant, where));
  } else {
    for (const auto& [layer, value] : quant->items()) {
      NIBBLE_TRY(config.by_layer[layer], ParseHqqSettings(value, fmt::format("{}, quant_config \"{}\"", where, layer)));
    }
  }
  NIBBLE_TRY(config.skip_modules, NameList(json, "skip_modules", where));
  return config;
}

Status HqqConfig::ReadModules(const std::map<std::string, std::string>* metadata) {
  if (!metadata) return {};
  for (const auto& [module, text] : *metadata) {
    auto json = text.starts_with('{') ? ParseJson(text, module) : Result<Json>(Json());
    const Json* data = json && json->is_object() ? JsonFind(*json, "_data") : nullptr;
    if (!data || !data->is_object() || !data->contains("nbits")) continue;  // another file's notes
    const std::string where = fmt::format("qmodel.pt, \"{}\"", module);
    HqqSettings settings;
    NIBBLE_TRY_IN(where, settings.bits, JsonInt(*data, "nbits"));
    NIBBLE_TRY_IN(where, settings.axis, JsonInt(*data, "axis", 1));
    NIBBLE_RETURN_IF_ERROR(ParseShape(*data, where, settings));
    // hqq 0.1 keeps the numbers in a dict "meta" of the module.
    modules.emplace(module.ends_with(".meta") ? module.substr(0, module.size() - 5) : module, settings);
  }
  return {};
}

const HqqSettings* HqqConfig::Find(const std::string& module) const {
  for (const std::string& skip : skip_modules)
    if (HasComponent(module, skip)) return nullptr;
  if (by_layer.empty()) return &base;
  for (const auto& [layer, settings] : by_layer)
    if (HasComponent(module, layer)) return &settings;
  return nullptr;
}

}  // namespace nibble
