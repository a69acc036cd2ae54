// SPDX-License-Identifier: Apache-2.0
// GPTQModel's settings by module, the same for all its methods: `lm_head`, and `dynamic`: an object of regular expressions over
// module names. "-:regex" leaves modules out, "+:regex" or "regex" overrides settings. Skips are tested first, as the tool sorts
// them, then the file's order counts; the first match decides.
#pragma once

#include <optional>
#include <vector>

#include "methods/name_pattern.h"
#include "methods/registry.h"

namespace nibble {

struct ModuleRule {
  NamePattern pattern;
  bool skip = false;
  std::optional<int64_t> bits, group_size;
  std::optional<bool> sym, desc_act;
};

struct ModuleRules {
  bool lm_head = false;
  std::vector<ModuleRule> rules;

  static Result<ModuleRules> Parse(const Json& json, const ConfigSource& source);
  // The rule that decides for a module, or null.
  const ModuleRule* Find(const std::string& name, const std::string& fused_name) const;
  const ModuleRule* Find(const LayerQuery& layer) const { return Find(layer.name, layer.fused_name); }
  // Whether the settings have a module quantized; where tensors are known they decide.
  bool Includes(const LayerQuery& layer) const;
};

}  // namespace nibble
