// SPDX-License-Identifier: Apache-2.0
// Binds the arguments of a call to parameters, as Python does.
#include <algorithm>

#include "tokenizers/jinja/library.h"

namespace nibble::jinja {

Result<std::vector<Value>> Bind(const std::string& function, const Arguments& arguments,
                                std::initializer_list<Parameter> parameters) {
  if (arguments.positional.size() > parameters.size()) {
    return Corrupt("{}() takes at most {} argument(s) but {} were given", function, parameters.size(), arguments.positional.size());
  }
  for (const auto& keyword : arguments.keyword) {
    const bool known =
        std::any_of(parameters.begin(), parameters.end(), [&](const Parameter& p) { return keyword.first == p.name; });
    if (!known) return Corrupt("{}() got an unexpected keyword argument '{}'", function, keyword.first);
  }
  std::vector<Value> values;
  for (const Parameter& parameter : parameters) {
    const auto keyword =
        std::find_if(arguments.keyword.begin(), arguments.keyword.end(), [&](const auto& k) { return k.first == parameter.name; });
    if (values.size() < arguments.positional.size()) {
      if (keyword != arguments.keyword.end())
        return Corrupt("{}() got multiple values for argument '{}'", function, parameter.name);
      values.push_back(arguments.positional[values.size()]);
    } else if (keyword != arguments.keyword.end()) {
      values.push_back(keyword->second);
    } else if (parameter.fallback) {
      values.push_back(*parameter.fallback);
    } else {
      return Corrupt("{}() missing 1 required positional argument: '{}'", function, parameter.name);
    }
  }
  return values;
}

Result<int64_t> ToInteger(const std::string& function, const Value& value) {
  if (value.IsInteger()) return value.Integer();
  if (value.IsUndefined()) return Corrupt("{}", value.UndefinedMessage());
  return Corrupt("{}: '{}' object cannot be interpreted as an integer", function, TypeName(value));
}

Result<std::string> ToText(const std::string& function, const Value& value) {
  if (value.IsString()) return value.Str();
  if (value.IsUndefined()) return Corrupt("{}", value.UndefinedMessage());
  return Corrupt("{}() argument must be str, not {}", function, TypeName(value));
}

}  // namespace nibble::jinja
