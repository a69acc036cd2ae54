// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "awq" (AutoAWQ, GPTQModel, llm-awq's quant_config.json); keys in README.md.
#pragma once

#include <string>
#include <vector>

#include "methods/awq_weight.h"
#include "methods/module_rules.h"

namespace nibble {

struct AwqConfig {
  AwqLayout layout;
  bool zero_point = true;                           // informative: stored qzeros are used either way
  ModuleRules rules;                                // GPTQModel's files
  std::vector<std::string> modules_to_not_convert;  // a module is skipped if its name contains one

  static Result<AwqConfig> Parse(const Json& json, const ConfigSource& source);
  AwqLayout LayoutOf(const LayerQuery& layer) const;
};

}  // namespace nibble
