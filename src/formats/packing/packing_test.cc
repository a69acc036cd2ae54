// SPDX-License-Identifier: Apache-2.0
// Every packing: published words of a known matrix, and read(encode(codes)) == codes over rectangles at every offset.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "formats/packing/awq.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "formats/packing/flat_nibbles.h"
#include "formats/packing/marlin.h"
#include "formats/packing/planar.h"
#include "formats/packing/slices.h"
#include "formats/packing/tinygemm.h"

namespace nibble {
namespace {

using Codes = std::vector<uint8_t>;
using Words = std::vector<uint32_t>;

Codes RandomCodes(int64_t count, int bits, unsigned seed = 1) {
  std::mt19937 random(seed);
  Codes codes(static_cast<size_t>(count));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
  return codes;
}

// Compares random rectangles of `source` with codes [n][k].
void ExpectCodes(const CodeSource& source, const Codes& codes, int64_t n, int64_t k) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 60; ++trial) {
    const auto pick = [&](int64_t size) {
      const int64_t a = static_cast<int64_t>(random()) % (size + 1), b = static_cast<int64_t>(random()) % (size + 1);
      return trial == 0 ? Range{0, size} : Range{std::min(a, b), std::max(a, b)};
    };
    const Range rows = pick(n), cols = pick(k);
    CodeSource moved = source;  // half of the trials reach the rectangle through the offsets that Slice uses
    Range read_rows = rows, read_cols = cols;
    if (trial % 2) {
      moved.n0 = rows.begin;
      moved.k0 = cols.begin;
      read_rows = {0, rows.size()};
      read_cols = {0, cols.size()};
    }
    Codes out(static_cast<size_t>(rows.size() * cols.size()), 0xee);
    moved.read(moved, read_rows, read_cols, out.data());
    for (int64_t i = 0; i < rows.size(); ++i) {
      for (int64_t j = 0; j < cols.size(); ++j) {
        ASSERT_EQ(out[static_cast<size_t>(i * cols.size() + j)], codes[static_cast<size_t>((rows.begin + i) * k + cols.begin + j)])
            << "row " << rows.begin + i << " column " << cols.begin + j << " of rectangle " << rows.begin << ".." << rows.end
            << ", " << cols.begin << ".." << cols.end;
      }
    }
  }
}

TensorView WordsView(const Words& words, int64_t rows, int64_t cols) { return TensorView(words.data(), DType::kI32, {rows, cols}); }

Codes GptqCodes() {  // q[k][n] = (3k + 5n + kn) mod 16, k 16, n 8, here as [n][k]
  Codes codes;
  for (int n = 0; n < 8; ++n) {
    for (int k = 0; k < 16; ++k) codes.push_back(static_cast<uint8_t>((3 * k + 5 * n + k * n) % 16));
  }
  return codes;
}

TEST(BitStream, ReadsEveryWidthAlongBothAxes) {
  const int64_t n = 37, k = 615;
  for (int bits = 1; bits <= 8; ++bits) {
    SCOPED_TRACE(bits);
    const Codes codes = RandomCodes(n * k, bits);
    for (const bool dense : {true, false}) {
      const auto encode = dense ? EncodeDenseStream : EncodeWordStream;
      const auto source = dense ? DenseStream : WordStream;
      const int64_t row_words = dense ? DenseStreamWords(k, bits) : WordStreamWords(k, bits);
      Words rows(static_cast<size_t>(n * row_words)), columns(static_cast<size_t>(row_words * n));
      for (int64_t i = 0; i < n; ++i) {
        encode(codes.data() + i * k, k, bits, rows.data() + i * row_words, 1);
        encode(codes.data() + i * k, k, bits, columns.data() + i, n);
      }
      ExpectCodes(source(WordsView(rows, n, row_words), bits, StreamAxis::kAlongK), codes, n, k);
      ExpectCodes(source(WordsView(columns, row_words, n).Transpose(0, 1), bits, StreamAxis::kAlongK), codes, n, k);
      Codes turned(codes.size());  // the same words read as columns give the transposed matrix
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < k; ++j) turned[static_cast<size_t>(j * n + i)] = codes[static_cast<size_t>(i * k + j)];
      }
      ExpectCodes(source(WordsView(rows, n, row_words), bits, StreamAxis::kAlongN), turned, k, n);
      ExpectCodes(source(WordsView(columns, row_words, n).Transpose(0, 1), bits, StreamAxis::kAlongN), turned, k, n);
    }
  }
}

TEST(BitStream, ReadsBytesAsWords) {
  const int64_t n = 5, k = 96;
  for (const int bits : {2, 3, 4, 6}) {
    const Codes codes = RandomCodes(n * k, bits);
    const int64_t words = DenseStreamWords(k, bits);
    Words rows(static_cast<size_t>(n * words));
    for (int64_t i = 0; i < n; ++i) EncodeDenseStream(codes.data() + i * k, k, bits, rows.data() + i * words, 1);
    ExpectCodes(DenseStream(TensorView(rows.data(), DType::kU8, {n, words * 4}), bits, StreamAxis::kAlongK), codes, n, k);
  }
}

TEST(BitStream, GptqWordsAreThePublishedOnes) {
  const Words words = {0x52FC9630, 0x1D951D95, 0xD83E94FA, 0x93D71B5F, 0x5E7092B4, 0x19191919, 0xD4B2907E, 0x9F5B17D3,
                       0xDA741EB8, 0x1D951D95, 0x50B61C72, 0x93D71B5F, 0xD6F81A3C, 0x19191919, 0x5C3A18F6, 0x9F5B17D3};
  ExpectCodes(DenseStream(WordsView(words, 2, 8).Transpose(0, 1), 4, StreamAxis::kAlongK), GptqCodes(), 8, 16);
  // Zero points of two groups, packed along n, v2: rows n, columns groups.
  const Words zeros = {0xFEDCBA98, 0x1FEDCBA9};
  Codes expected;
  for (int n = 0; n < 8; ++n) {
    for (int g = 0; g < 2; ++g) expected.push_back(static_cast<uint8_t>((7 + g + n) % 15 + 1));
  }
  ExpectCodes(DenseStream(WordsView(zeros, 2, 1), 4, StreamAxis::kAlongN), expected, 8, 2);
}

TEST(BitStream, NarrowAndWideCodesAreThePublishedOnes) {
  const Words eight = {0x807F0100, 0xFE03FFC8}, two = {0x6C6C6C6C}, three = {0x42A150A8, 0x2A150A85, 0xA150A854};
  ExpectCodes(DenseStream(WordsView(eight, 1, 2), 8, StreamAxis::kAlongK), {0, 1, 127, 128, 200, 255, 3, 254}, 1, 8);
  ExpectCodes(DenseStream(WordsView(two, 1, 1), 2, StreamAxis::kAlongK), {0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1}, 1, 16);
  Codes pattern;
  for (int i = 0; i < 32; ++i) pattern.push_back(static_cast<uint8_t>(std::vector<int>{0, 5, 2}[static_cast<size_t>(i % 3)]));
  ExpectCodes(DenseStream(WordsView(three, 1, 3), 3, StreamAxis::kAlongK), pattern, 1, 32);
  const Words old = {0x02A150A8, 0x28542A15, 0x150A8542, 0x00000028};
  ExpectCodes(WordStream(WordsView(old, 1, 4), 3, StreamAxis::kAlongK), pattern, 1, 32);
  Words encoded(4);
  EncodeWordStream(pattern.data(), 32, 3, encoded.data(), 1);
  EXPECT_EQ(encoded, old);
  encoded.resize(3);
  EncodeDenseStream(pattern.data(), 32, 3, encoded.data(), 1);
  EXPECT_EQ(encoded, three);
}

TEST(Awq, GemmWordsAreThePublishedOnes) {
  const Words words = {0x39F5E4A0, 0xD1597BF3, 0x79BD0246, 0x11119999, 0xB97520EC, 0x51D9B73F, 0xF93D4E82, 0x9191D5D5,
                       0x39F56C28, 0xD159F37B, 0x79BD8ACE, 0x11111111, 0xB975A864, 0x51D93FB7, 0xF93DC60A, 0x91915D5D};
  ExpectCodes(AwqGemm(WordsView(words, 16, 1)), GptqCodes(), 8, 16);
  Words encoded(16);
  EncodeAwqGemm(GptqCodes().data(), 8, 16, encoded.data());
  EXPECT_EQ(encoded, words);
  const Codes codes = RandomCodes(24 * 70, 4);
  encoded.resize(70 * 3);
  EncodeAwqGemm(codes.data(), 24, 70, encoded.data());
  ExpectCodes(AwqGemm(WordsView(encoded, 70, 3)), codes, 24, 70);
}

TEST(Awq, GemvWordsArePlainStreams) {
  const Words words = {0x52FC9630, 0xDA741EB8, 0x1D951D95, 0x1D951D95, 0xD83E94FA, 0x50B61C72, 0x93D71B5F, 0x93D71B5F,
                       0x5E7092B4, 0xD6F81A3C, 0x19191919, 0x19191919, 0xD4B2907E, 0x5C3A18F6, 0x9F5B17D3, 0x9F5B17D3};
  ExpectCodes(DenseStream(WordsView(words, 8, 2), 4, StreamAxis::kAlongK), GptqCodes(), 8, 16);
}

TEST(Awq, GemvFastWordsAreThePublishedOnes) {
  Codes codes;
  for (int n = 0; n < 4; ++n) {
    for (int k = 0; k < 64; ++k) codes.push_back(static_cast<uint8_t>((k + 3 * n) % 16));
  }
  std::vector<uint16_t> words(64);
  EncodeAwqGemvFast(codes.data(), 4, 64, words.data());
  const std::vector<uint16_t> first = {0x8080, 0x9191, 0xA2A2, 0xB3B3, 0xC4C4, 0xD5D5, 0xE6E6, 0xF7F7};
  const std::vector<uint16_t> second = {0xB3B3, 0xC4C4, 0xD5D5, 0xE6E6, 0xF7F7, 0x0808, 0x1919, 0x2A2A};
  EXPECT_TRUE(std::equal(first.begin(), first.end(), words.begin()));
  EXPECT_TRUE(std::equal(second.begin(), second.end(), words.begin() + 16));
  EXPECT_EQ(words[48], 0x1919);
  const Codes random = RandomCodes(12 * 192, 4);
  words.resize(3 * 192);
  EncodeAwqGemvFast(random.data(), 12, 192, words.data());
  ExpectCodes(AwqGemvFast(TensorView(words.data(), DType::kI16, {3, 192})), random, 12, 192);
}

TEST(Marlin, TilesAreThePublishedOnes) {  // q[k][n] = (k + 3n) mod 2^b, k 16, n 64
  Codes four, eight;
  for (int n = 0; n < 64; ++n) {
    for (int k = 0; k < 16; ++k) {
      four.push_back(static_cast<uint8_t>((k + 3 * n) % 16));
      eight.push_back(static_cast<uint8_t>((k + 3 * n) % 256));
    }
  }
  Words words(128);
  EncodeMarlinTiles(four.data(), 64, 16, 4, words.data());
  EXPECT_EQ(Words(words.begin(), words.begin() + 5), (Words{0x19910880, 0x19910880, 0x19910880, 0x19910880, 0x3BB32AA2}));
  EXPECT_EQ(Words(words.begin() + 123, words.end()), (Words{0xA22A9119, 0xC44CB33B, 0xC44CB33B, 0xC44CB33B, 0xC44CB33B}));
  words.resize(256);
  EncodeMarlinTiles(eight.data(), 64, 16, 8, words.data());
  EXPECT_EQ(Words(words.begin(), words.begin() + 4), (Words{0x09010800, 0x21192018, 0x39313830, 0x51495048}));
  for (const int bits : {4, 8}) {
    const Codes codes = RandomCodes(192 * 48, bits);
    words.assign(static_cast<size_t>(192 * 48 * bits / 32), 0);
    EncodeMarlinTiles(codes.data(), 192, 48, bits, words.data());
    ExpectCodes(MarlinTiles(WordsView(words, 3, 192 * bits / 2), bits), codes, 192, 48);
  }
}

TEST(Marlin, ScaleColumnsAreThePublishedOnes) {
  const std::vector<int64_t> grouped = {0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17},
                             single = {0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11};
  for (size_t i = 0; i < grouped.size(); ++i) EXPECT_EQ(MarlinScaleColumn(static_cast<int64_t>(64 + i), true), 64 + grouped[i]);
  for (size_t i = 0; i < single.size(); ++i) EXPECT_EQ(MarlinScaleColumn(static_cast<int64_t>(32 + i), false), 32 + single[i]);
}

TEST(Bytes, SignedCodesAreShifted) {
  const std::vector<int8_t> bytes = {-128, -1, 0, 127, -8, 7};
  ExpectCodes(ByteCodes(TensorView(bytes.data(), DType::kI8, {2, 3}), 8, 128), {0, 127, 128, 255, 120, 135}, 2, 3);
  const TensorView small(bytes.data() + 4, DType::kI8, {1, 2});
  ExpectCodes(ByteCodes(small, 4, 8), {0, 15}, 1, 2);
  const Codes codes = RandomCodes(21, 8);
  std::vector<std::byte> encoded(21);
  EncodeByteCodes(codes.data(), 21, 128, encoded.data());
  ExpectCodes(ByteCodes(TensorView(encoded.data(), DType::kI8, {3, 7}), 8, 128), codes, 3, 7);
  Codes turned;
  for (size_t j = 0; j < 7; ++j) {
    for (size_t i = 0; i < 3; ++i) turned.push_back(codes[i * 7 + j]);
  }
  ExpectCodes(ByteCodes(TensorView(encoded.data(), DType::kI8, {3, 7}).Transpose(0, 1), 8, 128), turned, 7, 3);
}

TEST(Planar, ReadsWhatItEncodesAlongBothAxes) {
  const int64_t lines = 9, count = 96;
  for (int bits = 1; bits <= 8; ++bits) {
    SCOPED_TRACE(bits);
    const Codes codes = RandomCodes(lines * count, bits);
    const int64_t words_of_line = count * bits / 32;
    Words words(static_cast<size_t>(words_of_line * lines)), turned(words.size());
    for (int64_t line = 0; line < lines; ++line) {
      EncodePlanarStream(codes.data() + line * count, count, bits, words.data() + line * words_of_line, 1);
      EncodePlanarStream(codes.data() + line * count, count, bits, turned.data() + line, lines);
    }
    ExpectCodes(PlanarStream(WordsView(words, lines, words_of_line), bits, StreamAxis::kAlongK), codes, lines, count);
    ExpectCodes(PlanarStream(WordsView(turned, words_of_line, lines).Transpose(0, 1), bits, StreamAxis::kAlongK), codes, lines,
                count);
    Codes transposed;
    for (int64_t i = 0; i < count; ++i)
      for (int64_t line = 0; line < lines; ++line) transposed.push_back(codes[static_cast<size_t>(line * count + i)]);
    ExpectCodes(PlanarStream(WordsView(words, lines, words_of_line), bits, StreamAxis::kAlongN), transposed, count, lines);
    if (bits == 4 || bits == 8) {  // one plane: the plain stream
      ExpectCodes(DenseStream(WordsView(words, lines, words_of_line), bits, StreamAxis::kAlongK), codes, lines, count);
    }
  }
}

TEST(Planar, PutsTheFifthBitsIntoTheirOwnWord) {
  Codes codes(32, 0);
  codes[0] = 0x1f, codes[9] = 0x13;
  Words words(5);
  EncodePlanarStream(codes.data(), 32, 5, words.data(), 1);
  EXPECT_EQ(words, (Words{0xf, 0x30, 0, 0, 0x201}));
}

TEST(Slices, ReadGroupsThatAreShorterAndLongerThanRows) {
  const int64_t n = 24, k = 40;
  for (const bool first_high : {true, false}) {
    for (const int bits : {1, 2, 3, 4, 5, 8}) {
      for (const int64_t group : {8, 60, 40}) {
        SCOPED_TRACE(::testing::Message() << bits << " bits, group " << group);
        const Codes codes = RandomCodes(n * k, bits);
        const int64_t rows = n * k / group, step = CeilDiv(rows, SlicesPerWord(bits));
        std::vector<std::byte> words(static_cast<size_t>(step * group * 4));
        EncodeSlicedRows(codes.data(), rows, group, bits, first_high, words.data());
        const TensorView view(words.data(), bits == 3 ? DType::kI32 : DType::kU8, {step, group});
        ExpectCodes(SlicedRows(view, {.bits = bits, .first_high = first_high, .k = k}), codes, n, k);
      }
    }
  }
}

TEST(Slices, RowsThatShareScalesComeTogether) {
  const int64_t n = 12, k = 5, group = 4, slots = n / group;
  const Codes codes = RandomCodes(n * k, 2);
  std::vector<std::byte> words(static_cast<size_t>(slots * k));
  EncodeSlicedRows(codes.data(), group, slots * k, 2, true, words.data());
  Codes ordered;
  for (int64_t b = 0; b < n; ++b)
    for (int64_t i = 0; i < k; ++i) ordered.push_back(codes[static_cast<size_t>((b % group * slots + b / group) * k + i)]);
  const TensorView view(words.data(), DType::kU8, {1, slots * k});
  ExpectCodes(SlicedRows(view, {.bits = 2, .first_high = true, .k = k, .group = group, .rows_per_slot = slots}), ordered, n, k);
}

TEST(Slices, KeepHqqsAndBitNetsPublishedOrder) {
  // BitNet, transformers' docstring: bytes [[a1,18],[90,0a]] hold rows of codes minus one.
  const uint8_t bytes[] = {0xa1, 0x18, 0x90, 0x0a};
  const Codes rows = {1, 0, 0, 2, 0, 2, 0, 2, 2, 1, 1, 0, 2, 0, 2, 0};
  ExpectCodes(SlicedRows(TensorView(bytes, DType::kU8, {2, 2}), {.bits = 2, .k = 2}), rows, 8, 2);
  // HQQ, 4 bits: the first half of the groups lies in the high nibbles.
  const uint8_t pair[] = {0x12, 0x34};
  ExpectCodes(SlicedRows(TensorView(pair, DType::kU8, {1, 2}), {.bits = 4, .first_high = true, .k = 2}), {1, 3, 2, 4}, 2, 2);
}

TEST(Marlin, QqqTilesReadWhatTheyEncode) {
  const int64_t n = 128, k = 48;
  for (const MarlinOrder order : {MarlinOrder::kQqqGroups, MarlinOrder::kQqqChannel}) {
    const Codes codes = RandomCodes(n * k, 4);
    Words words(static_cast<size_t>(k / 16 * n * 2));
    EncodeMarlinTiles(codes.data(), n, k, 4, words.data(), order);
    ExpectCodes(MarlinTiles(WordsView(words, k / 16, n * 2), 4, order), codes, n, k);
  }
}

// Word (i, j, lane, w) by the published order of its codes.
TEST(Tinygemm, ReadsTheTilesOfTensorCores) {
  for (const int64_t tiles : {2, 4, 8}) {
    SCOPED_TRACE(tiles);
    const int64_t n = 24, k = 16 * tiles * 3, columns = 3;
    const Codes codes = RandomCodes(n * k, 4);
    Words words(static_cast<size_t>(n * k / 8));
    EncodeTinygemmTiles(codes.data(), n, k, tiles, words.data());
    ExpectCodes(TinygemmTiles(TensorView(words.data(), DType::kI32, {n / 8, columns, 32, tiles / 2})), codes, n, k);
    const int64_t i = 1, j = 2, lane = 13, w = tiles / 2 - 1, row = 8 * i + lane / 4, first = 16 * (tiles * j + 2 * w);
    uint32_t wanted = 0;
    const int64_t offsets[8] = {2, 10, 18, 26, 3, 11, 19, 27};  // 2 (13 % 4) + {0, 8, 16, 24}, then the columns beside them
    for (int at = 0; at < 8; ++at)
      wanted |= static_cast<uint32_t>(codes[static_cast<size_t>(row * k + first + offsets[at])]) << (4 * at);
    EXPECT_EQ(words[static_cast<size_t>(((i * columns + j) * 32 + lane) * (tiles / 2) + w)], wanted);
  }
}

// bitsandbytes: one stream of all elements, the first of two in the high nibble; rows of odd length begin within a byte.
TEST(Packing, FlatNibblesBeginAnywhere) {
  for (const int64_t k : {1, 33, 40}) {
    const int64_t n = 13;
    const Codes codes = RandomCodes(n * k, 4);
    Codes bytes(static_cast<size_t>(CeilDiv(n * k, int64_t{2})), 0);
    for (size_t i = 0; i < codes.size(); ++i) bytes[i / 2] |= static_cast<uint8_t>(i % 2 ? codes[i] : codes[i] << 4);
    ExpectCodes(FlatNibbles(TensorView(bytes.data(), DType::kU8, {static_cast<int64_t>(bytes.size())}), k), codes, n, k);
  }
}

}  // namespace
}  // namespace nibble
