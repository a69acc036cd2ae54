// SPDX-License-Identifier: Apache-2.0
// The two tables of filters, joined by ApplyFilter (library.h).
#pragma once

#include <string_view>
#include <unordered_map>

#include "tokenizers/jinja/library.h"

namespace nibble::jinja {

using FilterTable = std::unordered_map<std::string_view, Filter>;
const FilterTable& ValueFilters();
const FilterTable& SequenceFilters();

}  // namespace nibble::jinja
