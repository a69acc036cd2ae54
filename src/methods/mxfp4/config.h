// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "mxfp4" (gpt-oss); keys in README.md.
#pragma once

#include <string>
#include <vector>

#include "methods/registry.h"

namespace nibble {

struct Mxfp4Config {
  std::vector<std::string> excluded;  // modules_to_not_convert: names, wildcards

  static Result<Mxfp4Config> Parse(const Json& json, const std::string& where);
  bool Excludes(const std::string& name) const;
};

}  // namespace nibble
