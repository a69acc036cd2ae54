// SPDX-License-Identifier: Apache-2.0
#include "methods/module_rules.h"

#include <algorithm>

namespace nibble {
namespace {

Result<ModuleRule> ParseRule(std::string_view key, const Json& value, const std::string& where) {
  ModuleRule rule;
  const std::string here = fmt::format("{}, dynamic \"{}\"", where, key);
  rule.skip = key.starts_with("-:");
  if (key.starts_with("-:") || key.starts_with("+:")) key.remove_prefix(2);
  NIBBLE_TRY(rule.pattern, NamePattern::Compile(key, here));
  if (!value.is_object()) return Corrupt("{}: wanted an object, found {}", here, value.type_name());
  if (rule.skip) return rule;
  NIBBLE_RETURN_IF_ERROR(CheckKeys(value, here, {"bits", "group_size", "sym", "desc_act"},
                                   {"mse", "damp_percent", "damp_auto_increment", "static_groups", "lm_head", "act_group_aware",
                                    "method", "format", "gptaq", "fallback", "smooth", "v2", "v2_alpha", "adapter"}));
  if (value.contains("bits")) {
    NIBBLE_TRY_IN(here, rule.bits, JsonInt(value, "bits"));
  }
  if (value.contains("group_size")) {
    NIBBLE_TRY_IN(here, rule.group_size, JsonInt(value, "group_size"));
  }
  if (value.contains("sym")) {
    NIBBLE_TRY_IN(here, rule.sym, JsonBool(value, "sym"));
  }
  if (value.contains("desc_act")) {
    NIBBLE_TRY_IN(here, rule.desc_act, JsonBool(value, "desc_act"));
  }
  if (rule.bits && (*rule.bits < 1 || *rule.bits > 8)) return Corrupt("{}: bits is {}, wanted 1 to 8", here, *rule.bits);
  if (rule.group_size && (*rule.group_size == 0 || *rule.group_size < -1)) {
    return Corrupt("{}: group_size is {}, wanted -1 or a positive number", here, *rule.group_size);
  }
  return rule;
}

}  // namespace

Result<ModuleRules> ModuleRules::Parse(const Json& json, const ConfigSource& source) {
  ModuleRules parsed;
  NIBBLE_TRY_IN(source.where, parsed.lm_head, JsonBool(json, "lm_head", false));
  const Json* dynamic = JsonFind(json, "dynamic");
  if (!dynamic) return parsed;
  if (!dynamic->is_object()) return Corrupt("{}: dynamic is {}, wanted an object", source.where, dynamic->type_name());
  NIBBLE_TRY(const std::vector<std::string> keys, KeyOrder(json, "dynamic", source));
  for (const std::string& key : keys) {
    NIBBLE_TRY(ModuleRule rule, ParseRule(key, (*dynamic)[key], source.where));
    parsed.rules.push_back(std::move(rule));
  }
  std::stable_partition(parsed.rules.begin(), parsed.rules.end(), [](const ModuleRule& rule) { return rule.skip; });
  return parsed;
}

const ModuleRule* ModuleRules::Find(const std::string& name, const std::string& fused_name) const {
  for (const ModuleRule& rule : rules) {
    if (rule.pattern.Matches(name) || (!fused_name.empty() && rule.pattern.Matches(fused_name))) return &rule;
  }
  return nullptr;
}

bool ModuleRules::Includes(const LayerQuery& layer) const {
  if (layer.kind == LayerKind::kAttention) return false;
  if (const ModuleRule* rule = Find(layer)) return !rule->skip;
  if (layer.kind == LayerKind::kLmHead) return lm_head;
  return layer.kind != LayerKind::kEmbedding;
}

}  // namespace nibble
