// SPDX-License-Identifier: Apache-2.0
// What a user may tell a chat template: variables, the switch for thinking, tools.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/status.h"
#include "io/json.h"

namespace nibble {

// --template-arg name=value, --no-think.
void AddTemplateArguments(CLI::App& app, std::vector<std::string>& arguments, bool& no_think);

// Sets them in `variables`. A value is JSON, or else text: enable_thinking=false, reasoning_effort=low. no_think sets the names
// that templates know the switch by.
Status SetTemplateArguments(const std::vector<std::string>& arguments, bool no_think, OrderedJson& variables);

// The JSON list of tools in a file; Corrupt for anything else.
Result<OrderedJson> ReadTools(const std::string& path);

}  // namespace nibble
