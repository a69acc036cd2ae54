// SPDX-License-Identifier: Apache-2.0
// Every ggml block type that this build knows, against vectors of the reference implementation, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <vector>

#include "formats/format.h"
#include "support/paths.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kRows = 2, kColumns = 512;

struct GgmlCase {
  const char* type;
  int id;
};
constexpr GgmlCase kTypes[] = {{"F32", 0},      {"F16", 1},      {"BF16", 30},    {"Q4_0", 2},    {"Q4_1", 3},   {"Q5_0", 6},
                               {"Q5_1", 7},     {"Q8_0", 8},     {"Q2_K", 10},    {"Q3_K", 11},   {"Q4_K", 12},  {"Q5_K", 13},
                               {"Q6_K", 14},    {"IQ4_NL", 20},  {"IQ4_XS", 23},  {"Q8_1", 9},    {"Q8_K", 15},  {"IQ2_XXS", 16},
                               {"IQ2_XS", 17},  {"IQ3_XXS", 18}, {"IQ1_S", 19},   {"IQ3_S", 21},  {"IQ2_S", 22}, {"IQ1_M", 29},
                               {"TQ1_0", 34},   {"TQ2_0", 35},   {"MXFP4", 39},   {"NVFP4", 40},  {"Q1_0", 41},  {"Q2_0", 42},
                               {"IQ2_KT", 153}, {"IQ3_KT", 154}, {"IQ4_KT", 155}, {"IQ1_KT", 158}};

std::vector<std::byte> ReadGgmlBytes(const std::string& name) {
  std::ifstream in(testing::Repo("tests/data/ggml-vectors/" + name), std::ios::binary);
  std::vector<char> chars((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<std::byte> bytes(chars.size());
  std::transform(chars.begin(), chars.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}
std::vector<float> ReadGgmlFloats(const std::string& name) {
  const auto bytes = ReadGgmlBytes(name);
  std::vector<float> floats(bytes.size() / 4);
  if (!bytes.empty()) std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

// Bit patterns, so that NaN and -0 count; but iq3_kt has a zero of its own for "minus nothing".
void ExpectSameBits(const float* got, const float* wanted, size_t n, const std::string& what) {
  size_t different = 0;
  for (size_t i = 0; i < n; ++i) {
    if (std::memcmp(got + i, wanted + i, 4) == 0) continue;
    if (what.starts_with("IQ3_KT") && got[i] == 0 && wanted[i] == 0) continue;
    if (different++ == 0) ADD_FAILURE() << what << ": element " << i << ": " << got[i] << ", wanted " << wanted[i];
  }
  EXPECT_EQ(different, 0u) << what;
}

TEST(Ggml, FindsFormatsByNameAndType) {
  for (const GgmlCase& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    ASSERT_NE(format, nullptr) << c.type;
    EXPECT_EQ(FindFormat(format->name), format);
    EXPECT_EQ(format->ggml_type, c.id);
  }
  for (const int64_t id : {4, 5, 31, 36, 99, -1, -2}) EXPECT_EQ(FindGgmlFormat(id), nullptr) << id;
  EXPECT_EQ(FindGgmlFormat(int64_t{1} << 32 | 2), nullptr);
  EXPECT_EQ(FindFormat("q4_z"), nullptr);
}

TEST(Ggml, DecodesTheReferenceVectors) {
  int cases = 0;
  for (const GgmlCase& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    ASSERT_NE(format, nullptr) << c.type;
    for (const char* dataset : {"", ".heavy", ".im", ".heavy.im", ".rand"}) {
      const std::string name = std::string(c.type) + dataset;
      const auto q = ReadGgmlBytes(name + ".q");
      if (q.empty()) continue;
      const auto wanted = ReadGgmlFloats(name + ".deq");
      ASSERT_EQ(static_cast<int64_t>(q.size()), kRows * format->row_bytes(kColumns)) << name;
      std::vector<float> got(wanted.size());
      for (int64_t row = 0; row < kRows; ++row)
        format->decode(q.data() + row * format->row_bytes(kColumns), 0, kColumns / format->block_elems,
                       got.data() + row * kColumns);
      ExpectSameBits(got.data(), wanted.data(), got.size(), name);
      ++cases;
    }
  }
  // The 15 types that nibble makes have all datasets (q8_0 no importance matrix, plain types no random codes); the 19 others have
  // random codes, which are all codes, and one more; q8_1 and q8_k only values.
  EXPECT_EQ(cases, 3 * 2 + 12 * 5 - 2 + 17 * 2 + 2 * 1);
}

TEST(Ggml, DecodesFromTheMiddleOfARow) {
  for (const GgmlCase& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    const auto q = ReadGgmlBytes(std::string(c.type) + ".q");
    const auto wanted = ReadGgmlFloats(std::string(c.type) + ".deq");
    std::vector<float> got(static_cast<size_t>(format->block_elems));
    format->decode(q.data(), 1, 1, got.data());
    ExpectSameBits(got.data(), wanted.data() + format->block_elems, got.size(), c.type);
  }
}

TEST(Ggml, EncodesTheReferenceVectors) {
  int encoders = 0;
  for (const GgmlCase& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    if (!format->encode) continue;
    ++encoders;
    for (const auto& [dataset, source] : {std::pair("", "normal.f32"), std::pair(".heavy", "heavy.f32")}) {
      const auto x = ReadGgmlFloats(source);
      const auto wanted = ReadGgmlBytes(std::string(c.type) + dataset + ".q");
      std::vector<std::byte> got(wanted.size());
      for (int64_t row = 0; row < kRows; ++row)
        format->encode(x.data() + row * kColumns, kColumns, got.data() + row * format->row_bytes(kColumns));
      size_t different = 0, first = 0;
      for (size_t i = 0; i < got.size(); ++i)
        if (got[i] != wanted[i] && different++ == 0) first = i;
      EXPECT_EQ(different, 0u) << c.type << dataset << ": first at byte " << first << " = byte "
                               << first % static_cast<size_t>(format->block_bytes) << " of its block";
    }
  }
  EXPECT_EQ(encoders, 15);
}

TEST(Ggml, EncodersSurviveNanInfinityAndHugeValues) {
  for (const GgmlCase& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    if (!format->encode) continue;
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f, -3e38f, 1e-40f}) {
      std::vector<float> x(512, 0.5f);
      x[3] = bad;
      x[300] = -bad;
      std::vector<std::byte> row(static_cast<size_t>(format->row_bytes(512)));
      format->encode(x.data(), 512, row.data());  // what it gives is not defined, but it must stay in bounds (sanitizers watch)
    }
  }
}

// The formulas of BlockSplit, evaluated here a second time, equal decode on random bytes, so on every code.
float Level(const BlockSplit& split, uint8_t code) {
  return split.table ? split.unit * static_cast<float>(split.table[code]) : static_cast<float>(code - split.zero);
}
// False: the random scales are no numbers.
bool Recompose(const Format& format, const std::byte* row, std::vector<uint8_t>& codes, std::vector<float>& out) {
  const BlockSplit& split = *format.split;
  const auto subs = static_cast<size_t>(format.block_elems / split.sub_elems), elems = static_cast<size_t>(split.sub_elems);
  const std::byte* block = row + format.row_meta_bytes;
  if (split.split_scales) {
    std::vector<float> scale(subs);
    split.split_scales(row, block, codes.data(), scale.data());
    for (size_t i = 0; i < out.size(); ++i) out[i] = scale[i / elems] * Level(split, codes[i]);
    return std::all_of(scale.begin(), scale.end(), [](float x) { return std::isfinite(x); });
  }
  std::vector<uint8_t> sub_min(subs, 1);
  std::vector<int8_t> sub(subs, 1);
  uint16_t d = 0, dmin = 0;
  split.split(block, codes.data(), &d, &dmin, sub.data(), sub_min.data());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = F16ToF32(d) * static_cast<float>(split.has_sub ? sub[i / elems] : 1) * Level(split, codes[i]);
    if (split.has_min) out[i] -= F16ToF32(dmin) * static_cast<float>(split.has_sub_min ? sub_min[i / elems] : 1);
  }
  return std::isfinite(F16ToF32(d)) && std::isfinite(F16ToF32(dmin));
}

TEST(Ggml, SplitRecomposesToTheDecodedValues) {
  std::mt19937 random(7);
  for (const GgmlCase& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    if (!format->split) continue;
    ASSERT_NE(format->split->split == nullptr, format->split->split_scales == nullptr) << c.type;
    std::vector<std::byte> row(static_cast<size_t>(format->row_meta_bytes + format->block_bytes));
    std::vector<float> wanted(static_cast<size_t>(format->block_elems)), got(wanted.size());
    std::vector<uint8_t> codes(wanted.size());
    for (int trial = 0; trial < 300; ++trial) {
      for (std::byte& b : row) b = static_cast<std::byte>(random());
      format->decode(row.data(), 0, 1, wanted.data());
      if (!Recompose(*format, row.data(), codes, got)) continue;
      for (const uint8_t code : codes) ASSERT_LT(code, 1 << format->split->bits);
      ExpectSameBits(got.data(), wanted.data(), got.size(), c.type);
    }
  }
}

}  // namespace
}  // namespace nibble
