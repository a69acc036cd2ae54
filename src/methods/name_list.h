// SPDX-License-Identifier: Apache-2.0
// Lists of module names in configs, and the ways in which tools match them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace nibble {

// The names under `key`; empty when absent. Errors: no list, or a list of something else.
Result<std::vector<std::string>> NameList(const Json& json, std::string_view key, const std::string& where);

// Some name of the list occurs in `module`.
bool AnyPartOf(std::span<const std::string> names, std::string_view module);
// `part` is one or several whole components of `module`: "self_attn.q_proj" of "model.layers.0.self_attn.q_proj".
bool HasComponent(std::string_view module, std::string_view part);

}  // namespace nibble
