// SPDX-License-Identifier: Apache-2.0
#include "methods/mlx/config.h"

namespace nibble {
namespace {

constexpr std::string_view kModes[] = {"affine", "mxfp4", "mxfp8", "nvfp4"};

// What a mode fixes: its bits, and its group size.
struct ModeFacts {
  int64_t bits, group_size;
};
constexpr ModeFacts kFacts[] = {{0, 64}, {4, 32}, {8, 32}, {4, 16}};

Result<MlxMode> ParseMode(const Json& json, const std::string& where) {
  NIBBLE_TRY_IN(where, const std::string name, JsonString(json, "mode", "affine"));
  for (size_t i = 0; i < std::size(kModes); ++i)
    if (kModes[i] == name) return static_cast<MlxMode>(i);
  return Unsupported("{}: mode \"{}\"; readable are affine, mxfp4, mxfp8, nvfp4", where, name);
}

Result<MlxSettings> ParseMlxSettings(const Json& json, const std::string& where, MlxSettings settings) {
  NIBBLE_TRY(settings.mode, ParseMode(json, where));
  const ModeFacts facts = kFacts[static_cast<size_t>(settings.mode)];
  NIBBLE_TRY_IN(where, settings.bits, JsonInt(json, "bits", facts.bits ? facts.bits : settings.bits));
  NIBBLE_TRY_IN(where, settings.group_size, JsonInt(json, "group_size", facts.bits ? facts.group_size : settings.group_size));
  if (settings.bits < 2 || settings.bits > 8 || (facts.bits != 0 && settings.bits != facts.bits)) {
    return Corrupt("{}: bits is {} in mode {}, wanted {}", where, settings.bits, MlxModeName(settings.mode),
                   facts.bits ? std::to_string(facts.bits) : "2 to 8");
  }
  if (settings.group_size <= 0) return Corrupt("{}: group_size is {}, wanted a positive number", where, settings.group_size);
  return settings;
}

}  // namespace

std::string_view MlxModeName(MlxMode mode) { return kModes[static_cast<size_t>(mode)]; }

Result<MlxConfig> MlxConfig::Parse(const Json& json, const std::string& where) {
  MlxConfig config;
  NIBBLE_TRY(config.base, ParseMlxSettings(json, where, {}));
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      // The model's settings do not reach here: in an mxfp4 model a router's {"bits": 8, "group_size": 64} is affine.
      NIBBLE_TRY(config.modules[key], ParseMlxSettings(value, fmt::format("{}, \"{}\"", where, key), {}));
    } else if (value.is_boolean() && key != "quantize_activations") {
      config.modules[key] = value.get<bool>() ? std::optional(config.base) : std::nullopt;
    } else {
      NIBBLE_RETURN_IF_ERROR(CheckKeys(Json::object({{key, value}}), where, {"bits", "group_size", "mode"}, {"quant_method"}));
    }
  }
  return config;
}

std::optional<MlxSettings> MlxConfig::Find(std::string_view module) const {
  if (const auto found = modules.find(module); found != modules.end()) return found->second;
  // Multimodal files name the language model's modules with its prefix.
  for (const auto& [name, settings] : modules)
    if (name.size() > module.size() && name.ends_with(module) && name[name.size() - module.size() - 1] == '.') return settings;
  return base;
}

}  // namespace nibble
