// SPDX-License-Identifier: Apache-2.0
// The directory of a ZIP archive whose members are stored, not compressed, as PyTorch writes its files. ZIP64 too.
#pragma once

#include <map>
#include <span>
#include <string>

#include "base/status.h"

namespace nibble {

// Members by name, as parts of `bytes`, the whole archive. Every part lies inside. Errors: Corrupt; Unsupported for compression,
// encryption and archives in several volumes.
Result<std::map<std::string, std::span<const std::byte>>> ReadZipDirectory(std::span<const std::byte> bytes,
                                                                           const std::string& where);

}  // namespace nibble
