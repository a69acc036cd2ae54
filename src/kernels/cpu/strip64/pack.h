// SPDX-License-Identifier: Apache-2.0
// StoredWeight -> the bytes of strips (LayoutRow::pack of the two layouts).
#pragma once

#include "kernels/cpu/strip64/layout.h"

namespace nibble::strip64 {

Status PackRows(const StoredWeight& weight, Range strips, std::byte* out);
Status PackDots(const StoredWeight& weight, Range strips, std::byte* out);

}  // namespace nibble::strip64
