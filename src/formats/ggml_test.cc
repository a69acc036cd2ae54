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

struct Case {
  const char* type;
  int id;
};
constexpr Case kTypes[] = {{"F32", 0},   {"F16", 1},   {"BF16", 30}, {"Q4_0", 2},    {"Q4_1", 3},
                           {"Q5_0", 6},  {"Q5_1", 7},  {"Q8_0", 8},  {"Q2_K", 10},   {"Q3_K", 11},
                           {"Q4_K", 12}, {"Q5_K", 13}, {"Q6_K", 14}, {"IQ4_NL", 20}, {"IQ4_XS", 23}};

std::vector<std::byte> ReadAll(const std::string& name) {
  std::ifstream in(testing::Repo("tests/data/ggml-vectors/" + name), std::ios::binary);
  std::vector<char> chars((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<std::byte> bytes(chars.size());
  std::transform(chars.begin(), chars.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}
std::vector<float> ReadFloats(const std::string& name) {
  const auto bytes = ReadAll(name);
  std::vector<float> floats(bytes.size() / 4);
  if (!bytes.empty()) std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

// Bit patterns, so that NaN and -0 count.
void ExpectSameBits(const float* got, const float* wanted, size_t n, const std::string& what) {
  size_t different = 0;
  for (size_t i = 0; i < n; ++i) {
    if (std::memcmp(got + i, wanted + i, 4) == 0) continue;
    if (different++ == 0) ADD_FAILURE() << what << ": element " << i << ": " << got[i] << ", wanted " << wanted[i];
  }
  EXPECT_EQ(different, 0u) << what;
}

TEST(Ggml, FindsFormatsByNameAndType) {
  for (const Case& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    ASSERT_NE(format, nullptr) << c.type;
    EXPECT_EQ(FindFormat(format->name), format);
    EXPECT_EQ(format->ggml_type, c.id);
  }
  for (const int64_t id : {4, 5, 9, 15, 31, 36, 99, -1, -2}) EXPECT_EQ(FindGgmlFormat(id), nullptr) << id;
  EXPECT_EQ(FindGgmlFormat(int64_t{1} << 32 | 2), nullptr);
  EXPECT_EQ(FindFormat("q4_z"), nullptr);
}

TEST(Ggml, DecodesTheReferenceVectors) {
  int cases = 0;
  for (const Case& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    ASSERT_NE(format, nullptr) << c.type;
    for (const char* dataset : {"", ".heavy", ".im", ".heavy.im", ".rand"}) {
      const std::string name = std::string(c.type) + dataset;
      const auto q = ReadAll(name + ".q");
      if (q.empty()) continue;
      const auto wanted = ReadFloats(name + ".deq");
      ASSERT_EQ(static_cast<int64_t>(q.size()), kRows * format->row_bytes(kColumns)) << name;
      std::vector<float> got(wanted.size());
      for (int64_t row = 0; row < kRows; ++row)
        format->decode(q.data() + row * format->row_bytes(kColumns), 0, kColumns / format->block_elems,
                       got.data() + row * kColumns);
      ExpectSameBits(got.data(), wanted.data(), got.size(), name);
      ++cases;
    }
  }
  EXPECT_EQ(cases, 3 * 2 + 12 * 5 - 2);  // q8_0 has no importance matrix, plain types no random codes
}

TEST(Ggml, DecodesFromTheMiddleOfARow) {
  for (const Case& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    const auto q = ReadAll(std::string(c.type) + ".q");
    const auto wanted = ReadFloats(std::string(c.type) + ".deq");
    std::vector<float> got(static_cast<size_t>(format->block_elems));
    format->decode(q.data(), 1, 1, got.data());
    ExpectSameBits(got.data(), wanted.data() + format->block_elems, got.size(), c.type);
  }
}

TEST(Ggml, EncodesTheReferenceVectors) {
  for (const Case& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    ASSERT_NE(format->encode, nullptr) << c.type;
    for (const auto& [dataset, source] : {std::pair("", "normal.f32"), std::pair(".heavy", "heavy.f32")}) {
      const auto x = ReadFloats(source);
      const auto wanted = ReadAll(std::string(c.type) + dataset + ".q");
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
}

TEST(Ggml, EncodersSurviveNanInfinityAndHugeValues) {
  for (const Case& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
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

// The formula of BlockSplit, evaluated here a second time, equals decode on random bytes, so on every code.
TEST(Ggml, SplitRecomposesToTheDecodedValues) {
  std::mt19937 random(7);
  for (const Case& c : kTypes) {
    const FormatId format = FindGgmlFormat(c.id);
    if (!format->split) continue;
    const BlockSplit& split = *format->split;
    std::vector<std::byte> block(static_cast<size_t>(format->block_bytes));
    std::vector<float> wanted(static_cast<size_t>(format->block_elems)), got(wanted.size());
    std::vector<uint8_t> codes(wanted.size()), sub_min(wanted.size(), 1);
    std::vector<int8_t> sub(wanted.size(), 1);
    for (int trial = 0; trial < 300; ++trial) {
      for (std::byte& b : block) b = static_cast<std::byte>(random());
      format->decode(block.data(), 0, 1, wanted.data());
      uint16_t d = 0, dmin = 0;
      split.split(block.data(), codes.data(), &d, &dmin, sub.data(), sub_min.data());
      if (!std::isfinite(F16ToF32(d)) || !std::isfinite(F16ToF32(dmin))) continue;
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_LT(codes[i], 1 << split.bits);
        const size_t s = i / static_cast<size_t>(split.sub_elems);
        const int level = split.table ? split.table[codes[i]] : codes[i] - split.zero;
        got[i] = F16ToF32(d) * static_cast<float>(split.has_sub ? sub[s] : 1) * static_cast<float>(level);
        if (split.has_min) got[i] -= F16ToF32(dmin) * static_cast<float>(split.has_sub_min ? sub_min[s] : 1);
      }
      ExpectSameBits(got.data(), wanted.data(), got.size(), c.type);
    }
  }
}

}  // namespace
}  // namespace nibble
