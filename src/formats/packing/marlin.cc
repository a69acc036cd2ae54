// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/marlin.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

constexpr int64_t kRun = 1024;  // codes that are permuted together

// Position inside a run of the code that stands at [tile * 256 + row * 16 + column] before the permutation.
std::array<uint16_t, kRun> MarlinPositions(int bits, MarlinOrder kind) {
  static constexpr int kOrder4[8] = {0, 2, 4, 6, 1, 3, 5, 7}, kOrder8[8] = {0, 2, 1, 3, 4, 6, 5, 7},
                       kChannel[8] = {4, 0, 5, 1, 6, 2, 7, 3};
  const bool sparse = kind == MarlinOrder::kSparse24, fragments = sparse || kind == MarlinOrder::kMarlin;
  const int* order = kind == MarlinOrder::kQqqChannel ? kChannel : bits == 4 ? kOrder4 : kOrder8;
  const int pair = fragments ? 2 : 4, second = fragments ? 8 : 2;  // rows of a fragment
  std::array<int, kRun> source{};
  size_t at = 0;
  for (int i = 0; i < 32; ++i) {
    const int column = i / 4;
    for (int j = 0; j < 4; ++j) {
      const int base = sparse ? j + column / 2 * 256 + column % 2 * 8 : j * 256 + column;
      for (int block = 0; block < 2; ++block) {
        const int row = pair * (i % 4);
        for (const int each : {row, row + 1, row + second, row + second + 1}) {
          source[at++] = 16 * each + base + (sparse ? 4 : 8) * block;
        }
      }
    }
  }
  std::array<uint16_t, kRun> positions{};
  for (size_t begin = 0; begin < kRun; begin += 8) {
    for (size_t i = 0; i < 8; ++i) {
      positions[static_cast<size_t>(source[begin + static_cast<size_t>(order[i])])] = static_cast<uint16_t>(begin + i);
    }
  }
  return positions;
}
const std::array<uint16_t, kRun>& MarlinPositionsOf(int bits, MarlinOrder order) {
  using enum MarlinOrder;
  static const std::array<uint16_t, kRun> tables[2][4] = {
      {MarlinPositions(4, kMarlin), MarlinPositions(4, kQqqGroups), MarlinPositions(4, kQqqChannel), MarlinPositions(4, kSparse24)},
      {MarlinPositions(8, kMarlin), MarlinPositions(8, kMarlin), MarlinPositions(8, kMarlin), MarlinPositions(8, kSparse24)}};
  return tables[bits == 8][static_cast<size_t>(order)];
}

// Where code (n, k) of a row of tiles stands, counted in codes.
int64_t MarlinPlaceOf(const std::array<uint16_t, kRun>& positions, int64_t n, int64_t k) {
  const int64_t plain = n / 16 * 256 + k % 16 * 16 + n % 16;
  return plain / kRun * kRun + positions[static_cast<size_t>(plain % kRun)];
}

uint8_t CodeAt(const TensorView& words, const std::array<uint16_t, kRun>& positions, int bits, int64_t n, int64_t k) {
  const int64_t place = MarlinPlaceOf(positions, n, k), per_word = 32 / bits;
  uint32_t word;
  std::memcpy(&word, words.data + (k / 16 * words.stride[0] + place / per_word) * 4, 4);
  return static_cast<uint8_t>(word >> (place % per_word * bits) & ((1u << bits) - 1));
}

void ReadTiles(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const std::array<uint16_t, kRun>& positions = MarlinPositionsOf(source.bits, static_cast<MarlinOrder>(source.arg[0]));
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    for (int64_t col = k.begin + source.k0; col < k.end + source.k0; ++col) {
      *out++ = CodeAt(source.t[0], positions, source.bits, row, col);
    }
  }
}

// Which two of columns 4q .. 4q + 3 of row n are kept: index of the first, index of the second << 2.
unsigned KeptOf(const TensorView& meta, int64_t n, int64_t quad) {
  const int64_t rows = meta.dim(1) / 2, column = quad / 4;
  int64_t row = n / 64 * 64 + n % 2 * 2 + n % 8 / 4 + n % 32 % 4 / 2 * 32 + n % 64 / 8 * 4, at = column;
  const bool down = row % 2 == 0 && column % 2 == 1, up = row % 2 == 1 && column % 2 == 0;
  row += down - up;
  at += up - down;
  uint16_t element;
  std::memcpy(&element, meta.data + (at / 2 * rows * 2 + row * 2 + at % 2) * 2, 2);
  return element >> (quad % 4 * 4) & 15;
}

void ReadSparseTiles(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const std::array<uint16_t, kRun>& positions = MarlinPositionsOf(source.bits, MarlinOrder::kSparse24);
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    for (int64_t col = k.begin + source.k0; col < k.end + source.k0; ++col) {
      const unsigned kept = KeptOf(source.t[1], row, col / 4), index = static_cast<unsigned>(col % 4);
      const bool first = index == (kept & 3);
      *out++ = first || index == kept >> 2 ? CodeAt(source.t[0], positions, source.bits, row, col / 4 * 2 + !first)
                                           : static_cast<uint8_t>(source.arg[0]);
    }
  }
}

}  // namespace

CodeSource Marlin24Tiles(TensorView words, TensorView meta, int bits, uint8_t absent) {
  NIBBLE_CHECK((bits == 4 || bits == 8) && words.rank() == 2 && DTypeBytes(words.dtype) == 4 && words.stride[1] == 1 &&
                   meta.rank() == 2 && DTypeBytes(meta.dtype) == 2 && meta.contiguous(),
               "{} bits in {} and {}", bits, words.shape.ToString(), meta.shape.ToString());
  return {.read = ReadSparseTiles, .t = {words, meta}, .bits = bits, .arg = {absent, 0, 0, 0}};
}

int64_t Marlin24ScaleColumn(int64_t stored) {
  static constexpr int kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  return stored / 8 * 8 + kOrder[stored % 8];
}

CodeSource MarlinTiles(TensorView words, int bits, MarlinOrder order) {
  NIBBLE_CHECK((bits == 4 || bits == 8) && words.rank() == 2 && DTypeBytes(words.dtype) == 4 && words.stride[1] == 1,
               "{} bits in {}", bits, words.shape.ToString());
  return {.read = ReadTiles, .t = {words, {}}, .bits = bits, .arg = {static_cast<int64_t>(order), 0, 0, 0}};
}

void EncodeMarlinTiles(const uint8_t* codes, int64_t n, int64_t k, int bits, uint32_t* words, MarlinOrder order) {
  const std::array<uint16_t, kRun>& positions = MarlinPositionsOf(bits, order);
  const int64_t per_word = 32 / bits, row_words = n * 16 / per_word;
  std::fill_n(words, k / 16 * row_words, 0u);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t col = 0; col < k; ++col) {
      const int64_t place = MarlinPlaceOf(positions, row, col);
      words[col / 16 * row_words + place / per_word] |= static_cast<uint32_t>(codes[row * k + col]) << (place % per_word * bits);
    }
  }
}

int64_t MarlinScaleColumn(int64_t stored, bool grouped) {
  if (grouped) return stored / 64 * 64 + stored % 64 / 8 + stored % 8 * 8;  // 8 x 8 transposed
  static constexpr int kSingle[8] = {0, 1, 8, 9, 16, 17, 24, 25};
  return stored / 32 * 32 + stored % 32 / 8 * 2 + kSingle[stored % 8];
}

}  // namespace nibble
