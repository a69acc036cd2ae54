// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nibble {

// Bytes of standard base64 (RFC 4648; the padding may be missing); nullopt for any other character or a wrong length.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace nibble
