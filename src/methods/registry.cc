// SPDX-License-Identifier: Apache-2.0
#include "methods/registry.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <filesystem>
#include <list>
#include <mutex>
#include <utility>

#include <fmt/ranges.h>

#include "base/log.h"
#include "base/nearest_names.h"
#include "io/mapped_file.h"
#include "io/tensor_index.h"
#include "methods/unread.h"

namespace nibble {

const std::vector<const QuantizationEntry*>& MethodTable();  // generated

namespace {

std::mutex g_mutex;
std::atomic<bool> g_strict{false};

struct Registered {
  std::string name, summary;
  QuantizationEntry entry;
};
std::list<Registered>& RegisteredEntries() {
  static std::list<Registered> entries;
  return entries;
}

// The JSON that describes the quantization, and where it was found; null when the checkpoint has none.
struct FoundSettings {
  Json json;
  ConfigSource source;
};

// Files beside config.json, and the method of those that predate quant_method: the file's name tells the tool.
constexpr std::pair<const char*, const char*> kSettingsFiles[] = {{"quantize_config.json", "gptq"},
                                                                  {"quant_config.json", "awq"},
                                                                  {"hf_quant_config.json", "modelopt"},
                                                                  {"quanto_qmap.json", "quanto"}};

Result<FoundSettings> FindSettings(const std::string& folder, const Json& model_config) {
  const std::vector<std::vector<std::string>> places = {
      {"quantization_config"}, {"compression_config"}, {"quantization"}, {"text_config", "quantization_config"}};
  for (const std::vector<std::string>& place : places) {
    const Json* found = &model_config;
    for (const std::string& key : place) found = found ? JsonFind(*found, key) : nullptr;
    const std::string file = folder + "/config.json";
    if (found && place.back() == "quantization" && !JsonFind(*found, "bits")) continue;  // MLX's key; other tools put words there
    if (found) return FoundSettings{*found, {fmt::format("{}, {}", file, fmt::join(place, ".")), &model_config, file, place}};
  }
  if (const Json* found = JsonFind(model_config, "quip_params"); found && found->is_object()) {
    Json json = *found;
    json["quant_method"] = "qtip";
    return FoundSettings{std::move(json),
                         {folder + "/config.json, quip_params", &model_config, folder + "/config.json", {"quip_params"}}};
  }
  for (const auto& [name, method] : kSettingsFiles) {
    const std::string path = folder + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    NIBBLE_TRY(Json json, ReadJsonFile(path));
    if (json.is_object() && !json.contains("quant_method")) json["quant_method"] = method;
    return FoundSettings{std::move(json), {path, &model_config, path, {}}};
  }
  return FoundSettings{Json(), {folder, &model_config, "", {}}};
}

}  // namespace

std::vector<const QuantizationEntry*> Quantizations() {
  std::vector<const QuantizationEntry*> all = MethodTable();
  const std::lock_guard lock(g_mutex);
  for (const Registered& r : RegisteredEntries()) all.push_back(&r.entry);
  return all;
}

const QuantizationEntry* FindQuantization(std::string_view quant_method) {
  for (const QuantizationEntry* entry : Quantizations()) {
    if (entry->name == quant_method) return entry;
    if (std::find(entry->quant_methods.begin(), entry->quant_methods.end(), quant_method) != entry->quant_methods.end())
      return entry;
  }
  return nullptr;
}

Status RegisterQuantizationConfig(const std::string& name, QuantizationFactory factory, const std::string& summary) {
  if (FindQuantization(name)) return Usage("a quantization method named \"{}\" is registered already; choose another name", name);
  const std::lock_guard lock(g_mutex);
  Registered& added = RegisteredEntries().emplace_back(Registered{name, summary, {}});
  added.entry = {.name = added.name, .quant_methods = {added.name}, .summary = added.summary, .from_config = factory};
  return {};
}

std::string NearestQuantizations(std::string_view quant_method) {
  std::vector<std::string_view> names;
  for (const QuantizationEntry* entry : Quantizations())
    names.insert(names.end(), entry->quant_methods.begin(), entry->quant_methods.end());
  return NearestNames(quant_method, names);
}

Result<std::vector<std::string>> KeyOrder(const Json& json, std::string_view key, const ConfigSource& source) {
  std::vector<std::string> keys;
  if (!source.file.empty()) {
    NIBBLE_TRY(const std::string text, ReadTextFile(source.file, int64_t{64} << 20));
    std::vector<std::string> path = source.path;
    path.emplace_back(key);
    NIBBLE_TRY(keys, JsonKeyOrder(text, path, source.file));
  }
  const Json* object = JsonFind(json, key);
  if (!object || !object->is_object()) return std::vector<std::string>();
  // A file that changed since it was parsed, or none: whatever order the parser kept.
  const auto known = [&](const std::string& name) { return object->contains(name); };
  if (keys.size() == object->size() && std::all_of(keys.begin(), keys.end(), known)) return keys;
  keys.clear();
  for (const auto& [name, value] : object->items()) keys.push_back(name);
  return keys;
}

Result<std::unique_ptr<QuantizationConfig>> LoadQuantizationConfig(const std::string& folder, const Json& model_config,
                                                                   const TensorIndex* tensors,
                                                                   const std::map<std::string, std::string>* metadata) {
  NIBBLE_TRY(FoundSettings found, FindSettings(folder, model_config));
  found.source.metadata = metadata;
  found.source.tensors = tensors;
  const auto& [json, source] = found;
  const std::string& where = source.where;
  if (json.is_null()) {
    for (const QuantizationEntry* entry : Quantizations())
      if (tensors && entry->recognizes && entry->recognizes(*tensors)) return entry->from_config(Json::object(), source);
    return FindQuantization("unquantized")->from_config(json, source);
  }
  if (!json.is_object()) return Corrupt("{}: wanted an object, found {}", where, json.type_name());
  NIBBLE_TRY_IN(where, std::string quant_method, JsonString(json, "quant_method", ""));
  std::transform(quant_method.begin(), quant_method.end(), quant_method.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  // Old files name no method: desc_act is GPTQ's key, w_bit AWQ's; MLX never names one and has these two keys at top level.
  if (quant_method.empty() && JsonFind(json, "desc_act")) quant_method = "gptq";
  if (quant_method.empty() && JsonFind(json, "w_bit")) quant_method = "awq";
  if (quant_method.empty() && (JsonFind(json, "quant_algo") || JsonFind(json, "producer"))) quant_method = "modelopt";
  if (quant_method.empty() && JsonFind(json, "bits") && JsonFind(json, "group_size")) quant_method = "mlx";
  if (quant_method.empty()) return Corrupt("{}: no quant_method names the method; known ones: nibble methods", where);
  const QuantizationEntry* entry = FindQuantization(quant_method);
  if (const std::string unread = UnreadMethod(quant_method); !entry && !unread.empty())
    return Unsupported("{}: quant_method \"{}\" is {}", where, quant_method, unread);
  if (!entry)
    return Unsupported("{}: quant_method \"{}\" is unknown; nearest: {}; 'nibble methods' lists all, --plugin adds one", where,
                       quant_method, NearestQuantizations(quant_method));
  return entry->from_config(json, source);
}

Status CheckKeys(const Json& object, const std::string& where, std::initializer_list<std::string_view> known,
                 std::initializer_list<std::string_view> ignored) {
  for (const auto& [key, value] : object.items()) {
    const auto is = [&name = key](std::string_view listed) { return listed == name; };
    if (std::any_of(known.begin(), known.end(), is) || std::any_of(ignored.begin(), ignored.end(), is)) continue;
    if (g_strict) return Unsupported("{}: key \"{}\" is not known to nibble (--strict)", where, key);
    Warn("{}: key \"{}\" is not known to nibble and has no effect", where, key);
  }
  return {};
}

void SetStrictConfigs(bool strict) { g_strict = strict; }

const StoredTensor* BoundParams::Find(std::string_view suffix) const {
  for (const auto& [name_of, tensor] : params)
    if (name_of == suffix) return tensor;
  return nullptr;
}

TensorView BoundParams::View(std::string_view suffix) const {
  const StoredTensor* tensor = Find(suffix);
  if (!tensor) return {};
  return expert >= 0 ? tensor->view.Select(0, expert) : tensor->view;
}

std::shared_ptr<const void> BoundParams::Keep(std::string_view suffix) const {
  const StoredTensor* tensor = Find(suffix);
  return tensor ? tensor->keep : nullptr;
}

Origin BoundParams::origin(std::string_view suffix) const {
  const StoredTensor* tensor = Find(suffix);
  return {tensor ? tensor->file : "", expert >= 0 ? fmt::format("{}[{}]", name, expert) : name};
}

}  // namespace nibble
