// SPDX-License-Identifier: Apache-2.0
#include "methods/mxfp4/config.h"

#include <fnmatch.h>

#include <algorithm>

namespace nibble {

Result<Mxfp4Config> Mxfp4Config::Parse(const Json& json, const std::string& where) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where, {"quant_method", "modules_to_not_convert"}, {"dequantize", "use_kernels"}));
  Mxfp4Config config;
  const Json* names = JsonFind(json, "modules_to_not_convert");
  if (!names) return config;
  if (!names->is_array()) return Corrupt("{}: modules_to_not_convert is {}, wanted a list", where, names->type_name());
  for (const Json& name : *names) {
    if (!name.is_string()) return Corrupt("{}: modules_to_not_convert holds {}, wanted names", where, name.type_name());
    config.excluded.push_back(name.get<std::string>());
  }
  return config;
}

bool Mxfp4Config::Excludes(const std::string& name) const {
  return std::any_of(excluded.begin(), excluded.end(), [&](const std::string& entry) {
    return name == entry || name.starts_with(entry + ".") || fnmatch(entry.c_str(), name.c_str(), FNM_NOESCAPE) == 0 ||
           fnmatch((entry + ".*").c_str(), name.c_str(), FNM_NOESCAPE) == 0;
  });
}

}  // namespace nibble
