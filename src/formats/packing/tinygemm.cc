// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/tinygemm.h"

#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

struct Place {
  int64_t word;
  int shift;
};

// Where code (n, k) stands; `columns` runs of `tiles` tiles.
Place TinygemmPlaceOf(int64_t n, int64_t k, int64_t columns, int64_t tiles) {
  const int64_t run = k / (16 * tiles), tile = k / 16 % tiles, column = k % 16;
  const int64_t lane = n % 8 * 4 + column % 8 / 2;
  const int64_t index = tile % 2 * 4 + column / 8 * 2 + column % 2;  // among the eight codes of a word
  return {((n / 8 * columns + run) * 32 + lane) * (tiles / 2) + tile / 2, static_cast<int>(4 * (index / 2 + index % 2 * 4))};
}

void Read(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& words = source.t[0];
  const int64_t columns = words.dim(1), tiles = 2 * words.dim(3);
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row)
    for (int64_t column = k.begin + source.k0; column < k.end + source.k0; ++column) {
      const Place place = TinygemmPlaceOf(row, column, columns, tiles);
      uint32_t word;
      std::memcpy(&word, words.data + place.word * 4, 4);
      *out++ = static_cast<uint8_t>(word >> place.shift & 15);
    }
}

}  // namespace

CodeSource TinygemmTiles(TensorView words) {
  NIBBLE_CHECK(words.rank() == 4 && words.dim(2) == 32 && words.contiguous(), "tiles of shape {}", words.shape.ToString());
  CodeSource source;
  source.read = Read;
  source.t[0] = std::move(words);
  source.bits = 4;
  return source;
}

void EncodeTinygemmTiles(const uint8_t* codes, int64_t n, int64_t k, int64_t tiles, uint32_t* words) {
  std::memset(words, 0, static_cast<size_t>(n * k / 2));
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column < k; ++column) {
      const Place place = TinygemmPlaceOf(row, column, k / (16 * tiles), tiles);
      words[place.word] |= static_cast<uint32_t>(codes[row * k + column] & 15) << place.shift;
    }
}

}  // namespace nibble
