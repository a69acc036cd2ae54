// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/flat_nibbles.h"

namespace nibble {
namespace {

void ReadFlat(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(source.t[0].data);
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    const int64_t begin = row * source.arg[0] + source.k0;
    for (int64_t i = begin + k.begin; i < begin + k.end; ++i)
      *out++ = static_cast<uint8_t>(i % 2 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4);
  }
}

}  // namespace

CodeSource FlatNibbles(TensorView bytes, int64_t row_length) {
  return {.read = ReadFlat, .t = {bytes, {}}, .bits = 4, .arg = {row_length, 0, 0, 0}};
}

}  // namespace nibble
