// SPDX-License-Identifier: Apache-2.0
// "Did you mean": the names closest to one that is not known, for error messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

// The `count` names with the smallest edit distance to `name`, best first, joined by ", "; equal distances keep the given order.
std::string NearestNames(std::string_view name, const std::vector<std::string_view>& names, size_t count = 3);

}  // namespace nibble
