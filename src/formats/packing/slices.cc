// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/slices.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

uint32_t LoadWord(const std::byte* data, int64_t index, int bytes) {
  if (bytes == 1) return static_cast<uint32_t>(data[index]);
  uint32_t word;
  std::memcpy(&word, data + index * 4, 4);
  return word;
}

int Shift(int64_t slice, int bits, bool first_high) {
  return bits * static_cast<int>(first_high ? SlicesPerWord(bits) - 1 - slice : slice);
}

void ReadSlices(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& words = source.t[0];
  const int bytes = DTypeBytes(words.dtype), bits = source.bits;
  const int64_t step = words.dim(0), columns = words.dim(1), group = source.arg[2];
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    const int64_t logical = group == 0 ? row : row % group * source.arg[3] + row / group;
    int64_t element = logical * source.arg[0] + k.begin + source.k0;
    const int64_t end = logical * source.arg[0] + k.end + source.k0;
    while (element < end) {  // the part of this row that lies in one row of the cut matrix
      const int64_t line = element / columns, stop = std::min(end, (line + 1) * columns);
      const int shift = Shift(line / step, bits, source.arg[1] != 0);
      int64_t index = line % step * columns + element % columns;
      for (; element < stop; ++element) *out++ = static_cast<uint8_t>(LoadWord(words.data, index++, bytes) >> shift & mask);
    }
  }
}

}  // namespace

CodeSource SlicedRows(TensorView words, const SlicedLayout& layout) {
  NIBBLE_CHECK(words.rank() == 2 && words.contiguous() && DTypeBytes(words.dtype) == (layout.bits == 3 ? 4 : 1), "{} bits in {} {}",
               layout.bits, DTypeName(words.dtype), words.shape.ToString());
  return {.read = ReadSlices,
          .t = {words, {}},
          .bits = layout.bits,
          .arg = {layout.k, layout.first_high, layout.group, layout.rows_per_slot}};
}

void EncodeSlicedRows(const uint8_t* codes, int64_t rows, int64_t columns, int bits, bool first_high, std::byte* words) {
  const int64_t step = CeilDiv(rows, SlicesPerWord(bits)), bytes = bits == 3 ? 4 : 1;
  std::memset(words, 0, static_cast<size_t>(step * columns * bytes));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      std::byte* at = words + (row % step * columns + column) * bytes;
      const uint32_t word = LoadWord(at, 0, static_cast<int>(bytes)) | static_cast<uint32_t>(codes[row * columns + column])
                                                                           << Shift(row / step, bits, first_high);
      std::memcpy(at, &word, static_cast<size_t>(bytes));
    }
  }
}

}  // namespace nibble
