// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/status.h"
#include "tokenizers/jinja/ast.h"

namespace nibble::jinja {

inline constexpr size_t kMaxTemplateBytes = 4 << 20;
inline constexpr int kMaxNesting = 150;

// Errors are worded "line N: ...". Statements that would read other files (include, import, extends) and recursive loops are
// kUnsupported. Unknown filters and tests are found when they are reached, as Jinja does for those in branches.
Result<Template> ParseTemplate(std::string_view source);

}  // namespace nibble::jinja
