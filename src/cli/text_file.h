// SPDX-License-Identifier: Apache-2.0
// Texts that models are measured on.
#pragma once

#include <string>

#include "base/status.h"

namespace nibble {

// The file with line ends as text mode has them everywhere: CR LF and CR become LF, so that a text gives the same tokens however it
// was saved.
Result<std::string> ReadTextForModel(const std::string& path);

}  // namespace nibble
