// SPDX-License-Identifier: Apache-2.0
// Standard input of commands that transform text: whole, or line by line.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"

namespace nibble {

// Everything up to the end, unchanged; an error above 1 GiB.
Result<std::string> ReadStandardInput();

// Calls `handle(line, "standard input, line N")` for every line that is not empty, stops at the first error. Lines end with \n.
Status ForEachInputLine(const std::function<Status(const std::string& line, const std::string& where)>& handle);

}  // namespace nibble
