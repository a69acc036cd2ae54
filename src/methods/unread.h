// SPDX-License-Identifier: Apache-2.0
// Methods that are known by name and not read: what a message says about them.
#pragma once

#include <string>
#include <string_view>

namespace nibble {

// "spqr is written by ...; ...", or empty for a name that nobody knows.
std::string UnreadMethod(std::string_view quant_method);

}  // namespace nibble
