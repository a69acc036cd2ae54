// SPDX-License-Identifier: Apache-2.0
#include "methods/name_list.h"

#include <algorithm>

namespace nibble {

Result<std::vector<std::string>> NameList(const Json& json, std::string_view key, const std::string& where) {
  std::vector<std::string> names;
  const Json* list = JsonFind(json, key);
  if (!list) return names;
  if (!list->is_array()) return Corrupt("{}: {} is {}, wanted a list", where, key, list->type_name());
  for (const Json& name : *list) {
    if (!name.is_string()) return Corrupt("{}: {} holds {}, wanted names", where, key, name.type_name());
    names.push_back(name.get<std::string>());
  }
  return names;
}

bool AnyPartOf(std::span<const std::string> names, std::string_view module) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& part) { return module.find(part) != module.npos; });
}

bool HasComponent(std::string_view module, std::string_view part) {
  for (size_t at = module.find(part); at != module.npos && !part.empty(); at = module.find(part, at + 1)) {
    const bool begins = at == 0 || module[at - 1] == '.';
    if (begins && (at + part.size() == module.size() || module[at + part.size()] == '.')) return true;
  }
  return false;
}

}  // namespace nibble
