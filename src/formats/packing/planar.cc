// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/planar.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

constexpr int64_t kBlock = 32;

// Field `i` of 32 in the planes that begin at words[0].
uint8_t PlanarCode(const uint32_t* words, int bits, int64_t i) {
  unsigned code = 0;
  int shift = 0;
  for (const int width : {8, 4, 2, 1}) {
    if (!(bits & width)) continue;
    const int64_t bit = i * width;
    code |= (words[bit / 32] >> (bit % 32) & ((1u << width) - 1)) << shift;
    words += width;
    shift += width;
  }
  return static_cast<uint8_t>(code);
}

void ReadPlanar(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& stored = source.t[0];
  const bool along_k = static_cast<StreamAxis>(source.arg[0]) == StreamAxis::kAlongK;
  const Range rows{n.begin + source.n0, n.end + source.n0}, columns{k.begin + source.k0, k.end + source.k0};
  const Range lines = along_k ? rows : columns, positions = along_k ? columns : rows;
  const int64_t line_step = along_k ? k.size() : 1, position_step = along_k ? 1 : k.size();
  for (int64_t block = positions.begin / kBlock; block * kBlock < positions.end; ++block) {
    const Range inside{std::max(positions.begin, block * kBlock), std::min(positions.end, (block + 1) * kBlock)};
    for (int64_t line = lines.begin; line < lines.end; ++line) {
      uint32_t words[8];
      for (int64_t i = 0; i < source.bits; ++i) {
        const int64_t at = line * stored.stride[0] + (block * source.bits + i) * stored.stride[1];
        std::memcpy(words + i, stored.data + at * 4, 4);
      }
      uint8_t* to = out + (line - lines.begin) * line_step + (inside.begin - positions.begin) * position_step;
      for (int64_t p = inside.begin; p < inside.end; ++p, to += position_step) *to = PlanarCode(words, source.bits, p % kBlock);
    }
  }
}

}  // namespace

CodeSource PlanarStream(TensorView words, int bits, StreamAxis axis) {
  NIBBLE_CHECK(words.rank() == 2 && DTypeBytes(words.dtype) == 4 && bits >= 1 && bits <= 8, "{} bits in {}", bits,
               words.shape.ToString());
  return {.read = ReadPlanar, .t = {words, {}}, .bits = bits, .arg = {static_cast<int64_t>(axis), 0, 0, 0}};
}

void EncodePlanarStream(const uint8_t* codes, int64_t count, int bits, uint32_t* words, int64_t word_stride) {
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    int shift = 0;
    for (const int width : {8, 4, 2, 1}) {
      if (!(bits & width)) continue;
      for (int64_t word = 0; word < width; ++word, words += word_stride) {
        const int64_t fields = 32 / width;
        *words = 0;
        for (int64_t i = 0; i < fields; ++i) {
          const uint32_t field = static_cast<uint32_t>(codes[begin + word * fields + i]) >> shift & ((1u << width) - 1);
          *words |= field << (i * width);
        }
      }
      shift += width;
    }
  }
}

}  // namespace nibble
