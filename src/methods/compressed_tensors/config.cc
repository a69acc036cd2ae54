// SPDX-License-Identifier: Apache-2.0
#include "methods/compressed_tensors/config.h"

#include <algorithm>
#include <charconv>

namespace nibble {
namespace {

constexpr std::string_view kStrategies[] = {"tensor", "channel", "group", "block", "token", "tensor_group", "attn_head"};

Result<CtTargets> ParseTargets(const Json& object, const char* key, const std::string& where) {
  CtTargets targets;
  const Json* list = JsonFind(object, key);
  if (!list) return targets;
  if (!list->is_array()) return Corrupt("{}: {} is {}, wanted a list", where, key, list->type_name());
  for (const Json& item : *list) {
    if (!item.is_string()) return Corrupt("{}: {} holds {}, wanted names", where, key, item.type_name());
    const std::string text = item.get<std::string>();
    if (!text.starts_with("re:")) {
      targets.names.push_back(text);
      continue;
    }
    NIBBLE_TRY(NamePattern pattern, NamePattern::Compile(std::string_view(text).substr(3), where));
    targets.patterns.push_back(std::move(pattern));
  }
  return targets;
}

Status ParseStrategy(const Json& json, const std::string& where, CtArgs& args) {
  NIBBLE_TRY_IN(where, args.group_size, JsonInt(json, "group_size", 0));
  NIBBLE_TRY_IN(where, const std::string name, JsonString(json, "strategy", ""));
  if (name.empty()) {
    args.strategy = args.group_size > 0 ? CtArgs::kGroup : args.group_size < 0 ? CtArgs::kChannel : CtArgs::kTensor;
    return {};
  }
  const auto found = std::find(std::begin(kStrategies), std::end(kStrategies), name);
  if (found == std::end(kStrategies)) return Unsupported("{}: strategy \"{}\" is unknown", where, name);
  args.strategy = static_cast<CtArgs::Strategy>(found - std::begin(kStrategies));
  const bool grouped = args.strategy == CtArgs::kGroup || args.strategy == CtArgs::kTensorGroup;
  if (grouped && args.group_size <= 0)
    return Corrupt("{}: strategy {} needs a positive group_size, found {}", where, name, args.group_size);
  return {};
}

// [128, 128] or "128x128".
Status ParseCtBlock(const Json& json, const std::string& where, CtArgs& args) {
  const Json* block = JsonFind(json, "block_structure");
  if (block && block->is_array() && block->size() == 2 && (*block)[0].is_number_integer() && (*block)[1].is_number_integer()) {
    args.block_n = (*block)[0].get<int64_t>();
    args.block_k = (*block)[1].get<int64_t>();
  } else if (block && block->is_string()) {
    const std::string text = block->get<std::string>();
    const size_t x = text.find('x');
    if (x == std::string::npos) return Corrupt("{}: block_structure \"{}\", wanted rows x columns", where, text);
    std::from_chars(text.data(), text.data() + x, args.block_n);
    std::from_chars(text.data() + x + 1, text.data() + text.size(), args.block_k);
  }
  if (args.strategy != CtArgs::kBlock || (args.block_n > 0 && args.block_k > 0)) return {};
  return Corrupt("{}: strategy block needs block_structure [rows, columns], found {}", where, block ? block->dump() : "none");
}

Status ParseDynamic(const Json& json, const std::string& where, CtArgs& args) {
  const Json* dynamic = JsonFind(json, "dynamic");
  if (!dynamic) return {};
  if (dynamic->is_boolean())
    args.dynamic = dynamic->get<bool>() ? CtArgs::kDynamic : CtArgs::kStatic;
  else if (*dynamic == "local")
    args.dynamic = CtArgs::kLocal;
  else
    return Corrupt("{}: dynamic is {}, wanted true, false or \"local\"", where, dynamic->dump());
  return {};
}

Result<std::optional<CtArgs>> ParseArgs(const Json& object, const char* key, const std::string& group_where) {
  const Json* json = JsonFind(object, key);
  if (!json) return std::optional<CtArgs>();
  const std::string where = fmt::format("{}, {}", group_where, key);
  if (!json->is_object()) return Corrupt("{}: wanted an object, found {}", where, json->type_name());
  NIBBLE_RETURN_IF_ERROR(CheckKeys(*json, where,
                                   {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic",
                                    "actorder", "scale_dtype", "zp_dtype"},
                                   {"observer", "observer_kwargs"}));
  CtArgs args;
  NIBBLE_TRY_IN(where, args.bits, JsonInt(*json, "num_bits", 8));
  NIBBLE_TRY_IN(where, const std::string type, JsonString(*json, "type", "int"));
  if (type != "int" && type != "float") return Unsupported("{}: type \"{}\", known are int, float", where, type);
  args.is_float = type == "float";
  NIBBLE_TRY_IN(where, args.symmetric, JsonBool(*json, "symmetric", true));
  NIBBLE_RETURN_IF_ERROR(ParseStrategy(*json, where, args));
  NIBBLE_RETURN_IF_ERROR(ParseCtBlock(*json, where, args));
  NIBBLE_RETURN_IF_ERROR(ParseDynamic(*json, where, args));
  const Json* order = JsonFind(*json, "actorder");
  args.act_order = order && (*order == "group" || *order == "dynamic" || *order == true);
  NIBBLE_TRY_IN(where, args.scale_dtype, JsonString(*json, "scale_dtype", ""));
  if (args.bits < 1 || args.bits > 8) return Unsupported("{}: num_bits is {}, known are 2 to 8", where, args.bits);
  return std::optional(args);
}

Status ParseGroups(const Json& json, const std::string& where, CtConfig& config) {
  const Json* groups = JsonFind(json, "config_groups");
  if (!groups) return {};
  if (!groups->is_object()) return Corrupt("{}: config_groups is {}, wanted an object", where, groups->type_name());
  for (const auto& [name, value] : groups->items()) {
    const std::string here = fmt::format("{}, config_groups \"{}\"", where, name);
    if (!value.is_object()) return Corrupt("{}: wanted an object, found {}", here, value.type_name());
    NIBBLE_RETURN_IF_ERROR(CheckKeys(value, here, {"targets", "weights", "input_activations", "output_activations", "format"}, {}));
    CtGroup group{.name = name};
    NIBBLE_TRY(group.targets, ParseTargets(value, "targets", here));
    NIBBLE_TRY(group.weights, ParseArgs(value, "weights", here));
    NIBBLE_TRY(group.inputs, ParseArgs(value, "input_activations", here));
    NIBBLE_TRY(group.outputs, ParseArgs(value, "output_activations", here));
    NIBBLE_TRY_IN(here, group.format, JsonString(value, "format", config.format == "mixed-precision" ? "" : config.format));
    config.groups.push_back(std::move(group));
  }
  return {};
}

// Online rotations of one scheme; offline ones are inside the weights already.
Status ParseTransform(const std::string& name, const Json& scheme, const std::string& where, CtConfig& config) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(scheme, where, {"type", "apply", "randomize", "head_dim", "precision"}, {"requires_grad"}));
  NIBBLE_TRY_IN(where, const std::string type, JsonString(scheme, "type", ""));
  NIBBLE_TRY_IN(where, const bool randomize, JsonBool(scheme, "randomize", false));
  NIBBLE_TRY_IN(where, const int64_t block, JsonInt(scheme, "head_dim", 0));
  if (block < 0) return Corrupt("{}: head_dim is {}", where, block);
  if (type != "hadamard" && type != "random-hadamard" && type != "random-matrix")
    return Unsupported("{}: type \"{}\"; readable are hadamard, random-hadamard, random-matrix", where, type);
  const CtTransform::Kind kind = type == "random-matrix"            ? CtTransform::kAnyMatrix
                                 : type == "hadamard" && !randomize ? CtTransform::kSylvester
                                                                    : CtTransform::kHadamard;
  const Json* apply = JsonFind(scheme, "apply");
  if (!apply || !apply->is_array()) return Corrupt("{}: apply is missing or no list", where);
  int turned = 0;
  for (const Json& item : *apply) {
    NIBBLE_TRY_IN(where, const std::string location, JsonString(item, "location", ""));
    if (location == "weight_input" || location == "weight_output") continue;
    if (location == "q_attn" || location == "k_cache") {
      // Turned alike by a rotation, queries and keys have the same products.
      if (type == "random-matrix")
        return Unsupported(
            "{}: queries and keys times a random matrix, which changes their products; readable are (random-)hadamard", where);
      turned += location == "q_attn" ? 1 : -1;
      config.turns_keys = true;
      continue;
    }
    if (location != "input" && location != "output")
      return Unsupported("{}: location \"{}\"; readable are input, output, q_attn, k_cache", where, location);
    CtTransform transform{.kind = kind, .name = name, .output = location == "output", .randomize = randomize, .block = block};
    NIBBLE_TRY(transform.targets, ParseTargets(item, "targets", where));
    NIBBLE_TRY(transform.ignore, ParseTargets(item, "ignore", where));
    NIBBLE_TRY_IN(where, transform.inverse, JsonBool(item, "inverse", false));
    config.transforms.push_back(std::move(transform));
  }
  if (turned == 0) return {};
  return Unsupported("{}: queries and keys are not turned alike (locations q_attn and k_cache), which changes their products",
                     where);
}

Status ParseTransforms(const Json& json, const std::string& where, CtConfig& config) {
  const Json* transforms = JsonFind(json, "transform_config");
  const Json* groups = transforms && transforms->is_object() ? JsonFind(*transforms, "config_groups") : nullptr;
  if (!groups) return {};
  for (const auto& [name, scheme] : groups->items()) {
    NIBBLE_RETURN_IF_ERROR(ParseTransform(name, scheme, fmt::format("{}, transform_config \"{}\"", where, name), config));
  }
  return {};
}

// Sparse storage shows in the tensors; only the name of the form is looked at here.
Status CheckSparsity(const Json& json, const std::string& where) {
  const Json* sparsity = JsonFind(json, "sparsity_config");
  if (!sparsity || !sparsity->is_object()) return {};
  NIBBLE_TRY_IN(where, const std::string format, JsonString(*sparsity, "format", "dense"));
  if (format == "dense" || format == "sparse-24-bitmask" || format == "sparse-bitmask") return {};
  return Unsupported("{}: sparsity_config format \"{}\"; readable are dense, sparse-24-bitmask, sparse-bitmask", where, format);
}

}  // namespace

int CtTargets::Rank(const LayerQuery& layer) const {
  const auto is = [&](const std::string& name) {
    return name == layer.name || (!layer.fused_name.empty() && name == layer.fused_name);
  };
  if (std::any_of(names.begin(), names.end(), is)) return 3;
  const auto matches = [&](const NamePattern& pattern) {
    return pattern.Matches(layer.name) || (!layer.fused_name.empty() && pattern.Matches(layer.fused_name));
  };
  if (std::any_of(patterns.begin(), patterns.end(), matches)) return 2;
  const std::string_view kind = layer.kind == LayerKind::kEmbedding   ? "Embedding"
                                : layer.kind == LayerKind::kAttention ? "Attention"
                                                                      : "Linear";
  return std::find(names.begin(), names.end(), kind) != names.end() ? 1 : 0;
}

Result<CtConfig> CtConfig::Parse(const Json& json, const std::string& where) {
  CtConfig config;
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where,
                                   {"quant_method", "format", "config_groups", "ignore", "kv_cache_scheme", "sparsity_config",
                                    "transform_config", "quantization_status"},
                                   {"global_compression_ratio", "version", "packed_modules_mapping", "total_num_heads",
                                    "total_num_kv_heads", "provider", "autoround_version", "run_compressed"}));
  NIBBLE_TRY_IN(where, config.format, JsonString(json, "format", ""));
  NIBBLE_TRY_IN(where, const std::string status, JsonString(json, "quantization_status", "compressed"));
  config.uncompressed = status != "compressed" && status != "decompressed";
  NIBBLE_RETURN_IF_ERROR(ParseGroups(json, where, config));
  NIBBLE_TRY(config.ignore, ParseTargets(json, "ignore", where));
  NIBBLE_TRY(config.kv_cache, ParseArgs(json, "kv_cache_scheme", where));
  NIBBLE_RETURN_IF_ERROR(CheckSparsity(json, where));
  NIBBLE_RETURN_IF_ERROR(ParseTransforms(json, where, config));
  return config;
}

const CtGroup* CtConfig::FindGroup(const LayerQuery& layer) const {
  const CtGroup* best = nullptr;
  int best_rank = 0;
  for (const CtGroup& group : groups) {
    const int rank = group.targets.Rank(layer);
    if (rank > best_rank) {
      best = &group;
      best_rank = rank;
    }
  }
  return best;
}

}  // namespace nibble
