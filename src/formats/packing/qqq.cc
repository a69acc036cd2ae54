// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/qqq.h"

#include <algorithm>
#include <cmath>

#include "formats/packing/marlin.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

void ReadWidened(const CodeSource& source, Range n, Range k, uint8_t* out) {
  CodeSource tiles = MarlinTiles(source.t[0], 4, MarlinOrder::kQqqGroups);
  tiles.n0 = source.n0;
  tiles.k0 = source.k0;
  tiles.read(tiles, n, k, out);
  const TensorView& scales = source.t[1];
  const int64_t group = source.arg[0];
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    const int64_t column = MarlinScaleColumn(row, true);  // the permutation is its own inverse
    for (int64_t at = k.begin + source.k0; at < k.end + source.k0;) {
      const int64_t index = at / group, stop = std::min((index + 1) * group, k.end + source.k0);
      const float scale = LoadScalar(scales.dtype, scales.data, index * scales.stride[0] + column * scales.stride[1]);
      for (; at < stop; ++at, ++out) {
        const float widened = std::nearbyint((static_cast<float>(*out) - 8) * scale);
        *out = static_cast<uint8_t>(std::clamp(std::isnan(widened) ? 0.0f : widened, -128.0f, 127.0f) + 128);
      }
    }
  }
}

}  // namespace

CodeSource QqqWidened(TensorView tiles, TensorView s_group, int64_t group) {
  return {.read = ReadWidened, .t = {tiles, s_group}, .bits = 8, .arg = {group, 0, 0, 0}};
}

}  // namespace nibble
