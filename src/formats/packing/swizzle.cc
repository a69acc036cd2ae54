// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/swizzle.h"

#include "base/check.h"

namespace nibble {

Tensor UnswizzleScales(const TensorView& swizzled, int64_t rows, int64_t columns) {
  NIBBLE_CHECK(swizzled.size_bytes() >= SwizzledScaleBytes(rows, columns), "{} scales for [{},{}]", swizzled.size_bytes(), rows,
               columns);
  Tensor plain(swizzled.dtype, {rows, columns});
  const int64_t tiles = CeilDiv(columns, 4);
  auto* out = plain.as<std::byte>();
  for (int64_t m = 0; m < rows; ++m) {
    const std::byte* row = swizzled.data + m / 128 * tiles * 512 + m % 32 * 16 + m % 128 / 32 * 4;
    for (int64_t k = 0; k < columns; ++k) *out++ = row[k / 4 * 512 + k % 4];
  }
  return plain;
}

}  // namespace nibble
