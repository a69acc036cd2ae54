// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/flat_nibbles.h"

namespace nibble {
namespace {

void ReadFlat(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(source.t[0].data);
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    const int64_t first = row * source.arg[0] + source.k0;
    int64_t i = first + k.begin;
    const int64_t end = first + k.end;
    if (i % 2 == 1 && i < end) *out++ = bytes[i++ / 2] & 15;
    for (; i + 1 < end; i += 2, out += 2) {
      out[0] = static_cast<uint8_t>(bytes[i / 2] >> 4);
      out[1] = bytes[i / 2] & 15;
    }
    if (i < end) *out++ = static_cast<uint8_t>(bytes[i / 2] >> 4);
  }
}

}  // namespace

CodeSource FlatNibbles(TensorView bytes, int64_t row_length) {
  return {.read = ReadFlat, .t = {bytes, {}}, .bits = 4, .arg = {row_length, 0, 0, 0}};
}

}  // namespace nibble
