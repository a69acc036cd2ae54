// SPDX-License-Identifier: Apache-2.0
#include "cli/template_arguments.h"

#include "io/mapped_file.h"

namespace nibble {

void AddTemplateArguments(CLI::App& app, std::vector<std::string>& arguments, bool& no_think) {
  app.add_option("--template-arg", arguments, "name=value for the template: reasoning_effort=low")->take_all();
  app.add_flag("--no-think", no_think, "enable_thinking=false for the template");
}

Status SetTemplateArguments(const std::vector<std::string>& arguments, bool no_think, OrderedJson& variables) {
  if (no_think) variables["enable_thinking"] = variables["thinking"] = false;
  for (const std::string& item : arguments) {
    const size_t equals = item.find('=');
    if (equals == item.npos || equals == 0) return Usage("--template-arg {}: wanted name=value", item);
    const std::string value = item.substr(equals + 1);
    auto json = ParseOrderedJson(value, item);
    variables[item.substr(0, equals)] = json ? std::move(*json) : OrderedJson(value);
  }
  return {};
}

Result<OrderedJson> ReadTools(const std::string& path) {
  NIBBLE_TRY(const std::string text, ReadTextFile(path));
  NIBBLE_TRY(OrderedJson tools, ParseOrderedJson(text, path));
  if (!tools.is_array()) return Corrupt("{}: wanted a JSON list of tools, [{{\"type\": \"function\", \"function\": ...}}]", path);
  return tools;
}

}  // namespace nibble
