// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/bytes.h"

#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

void ReadBytes(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& bytes = source.t[0];
  const auto offset = static_cast<unsigned>(source.arg[0]), mask = (1u << source.bits) - 1;
  const int64_t step = bytes.stride[1], width = k.size();
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row, out += width) {
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data) + row * bytes.stride[0] + (k.begin + source.k0) * step;
    if (step == 1 && offset == 0 && mask == 255) {
      std::memcpy(out, data, static_cast<size_t>(width));
    } else if (step == 1) {
      for (int64_t i = 0; i < width; ++i) out[i] = static_cast<uint8_t>((data[i] + offset) & mask);
    } else {
      for (int64_t i = 0; i < width; ++i) out[i] = static_cast<uint8_t>((data[i * step] + offset) & mask);
    }
  }
}

}  // namespace

CodeSource ByteCodes(TensorView bytes, int bits, int offset) {
  NIBBLE_CHECK(bytes.rank() == 2 && DTypeBytes(bytes.dtype) == 1 && bits >= 1 && bits <= 8, "{} bits in {} {}", bits,
               DTypeName(bytes.dtype), bytes.shape.ToString());
  return {.read = ReadBytes, .t = {bytes, {}}, .bits = bits, .arg = {offset, 0, 0, 0}};
}

void EncodeByteCodes(const uint8_t* codes, int64_t count, int offset, std::byte* bytes) {
  for (int64_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(codes[i] - offset);
}

}  // namespace nibble
