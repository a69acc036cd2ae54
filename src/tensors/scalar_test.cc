// SPDX-License-Identifier: Apache-2.0
// Every code of every type both ways, against numpy and ml_dtypes (tests/data/scalars/PROVENANCE.md).
#include "tensors/scalar.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <vector>

#include "support/paths.h"

namespace nibble {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
constexpr DType kSmall[] = {DType::kE4M3, DType::kE5M2, DType::kE3M2, DType::kE2M3, DType::kE2M1, DType::kE8M0};
constexpr int kSmallCodes[] = {256, 256, 64, 64, 16, 256};

std::string ReadGolden(const std::string& name) {
  std::ifstream file(testing::Repo("tests/data/scalars/" + name), std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}
template <typename T>
T At(const std::string& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

class Hash {
 public:
  template <typename T>
  void Add(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) hash_ = (hash_ ^ (value >> (8 * i) & 0xff)) * 0x100000001b3;
  }
  std::string Text() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};
std::map<std::string, std::string> Hashes() {
  std::map<std::string, std::string> hashes;
  std::istringstream lines(ReadGolden("half_hashes.txt"));
  std::string type, way, hash;
  while (lines >> type >> way >> hash) hashes[type + " " + way] = hash;
  return hashes;
}

TEST(Scalar, DecodesEveryCodeOfTheSmallFloats) {
  const std::string golden = ReadGolden("small_decode.bin");
  size_t at = 0;
  for (int type = 0; type < 6; ++type) {
    for (int code = 0; code < kSmallCodes[type]; ++code, at += 4) {
      const float wanted = At<float>(golden, at), found = DecodeSmallFloat(kSmall[type], static_cast<uint8_t>(code));
      const bool equal = std::isnan(wanted) ? std::isnan(found) : std::bit_cast<uint32_t>(found) == std::bit_cast<uint32_t>(wanted);
      EXPECT_TRUE(equal) << DTypeName(kSmall[type]) << " " << code << ": " << found << ", wanted " << wanted;
    }
  }
  EXPECT_EQ(at, golden.size());
}

TEST(Scalar, EncodesMidpointsEdgesAndNeighboursOfTheSmallFloats) {
  const std::string golden = ReadGolden("small_encode.bin");
  ASSERT_EQ(golden.size() % 6, 0u);
  int checked = 0;
  for (size_t at = 0; at < golden.size(); at += 6, ++checked) {
    const DType type = kSmall[static_cast<uint8_t>(golden[at])];
    const float x = At<float>(golden, at + 1);
    ASSERT_EQ(EncodeSmallFloat(type, x), At<uint8_t>(golden, at + 5)) << DTypeName(type) << " of " << x;
  }
  EXPECT_GT(checked, 2000);
}

TEST(Scalar, SmallFloatsComeBackAndNanIsDefined) {
  for (int type = 0; type < 6; ++type) {
    for (int code = 0; code < kSmallCodes[type]; ++code) {
      const float value = DecodeSmallFloat(kSmall[type], static_cast<uint8_t>(code));
      if (!std::isfinite(value)) continue;
      EXPECT_EQ(EncodeSmallFloat(kSmall[type], value), code) << DTypeName(kSmall[type]);
    }
  }
  EXPECT_EQ(EncodeSmallFloat(DType::kE4M3, kNan), 0x7f);
  EXPECT_EQ(EncodeSmallFloat(DType::kE4M3, -kNan), 0xff);
  EXPECT_TRUE(std::isnan(DecodeSmallFloat(DType::kE5M2, EncodeSmallFloat(DType::kE5M2, kNan))));
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, kNan), 255);
  for (const DType type : {DType::kE3M2, DType::kE2M3, DType::kE2M1}) EXPECT_EQ(EncodeSmallFloat(type, kNan), 0);
}

TEST(Scalar, PowersOfTwoRoundToTheNearest) {
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 1), 127);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 1.4f), 127);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 1.5f), 128);  // tie between 127 and 128
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 3.0f), 128);  // tie between 128 and 129
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, -6.1f), 130);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 0), 0);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 0x1p-127f), 0);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, 1e-45f), 0);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, std::numeric_limits<float>::max()), 254);
  EXPECT_EQ(EncodeSmallFloat(DType::kE8M0, kInf), 254);
}

TEST(Scalar, DecodesEveryHalf) {
  const auto hashes = Hashes();
  for (const DType type : {DType::kF16, DType::kBF16}) {
    Hash hash;
    for (uint32_t code = 0; code < 65536; ++code) {
      const auto half = static_cast<uint16_t>(code);
      const float value = type == DType::kF16 ? F16ToF32(half) : Bf16ToF32(half);
      hash.Add(std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value));
      const uint16_t back = type == DType::kF16 ? F32ToF16(value) : F32ToBf16(value);
      const bool nan_again = std::isnan(value) && std::isnan(type == DType::kF16 ? F16ToF32(back) : Bf16ToF32(back));
      ASSERT_TRUE(back == half || nan_again) << code;
    }
    EXPECT_EQ(hash.Text(), hashes.at(std::string(DTypeName(type)) + " decode"));
  }
}

// Every finite value, its midpoint to the next, and the midpoint's neighbours.
std::vector<float> HalfInputs(DType type) {
  std::vector<float> inputs;
  const uint32_t finite = type == DType::kF16 ? 0x7c00 : 0x7f80;
  for (uint32_t code = 0; code < finite; ++code) {
    const auto half = static_cast<uint16_t>(code);
    const float value = type == DType::kF16 ? F16ToF32(half) : Bf16ToF32(half);
    const float next = code + 1 == 0x7c00 ? 65536.0f : F16ToF32(static_cast<uint16_t>(code + 1));
    const float middle = type == DType::kF16 ? (value + next) / 2 : std::bit_cast<float>(code << 16 | 0x8000u);
    for (const float x : {value, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, kInf)}) inputs.push_back(x);
  }
  const size_t positive = inputs.size();
  for (size_t i = 0; i < positive; ++i) inputs.push_back(-inputs[i]);
  return inputs;
}

TEST(Scalar, EncodesEveryHalfwayCaseOfHalves) {
  const auto hashes = Hashes();
  for (const DType type : {DType::kF16, DType::kBF16}) {
    Hash hash;
    for (const float x : HalfInputs(type)) hash.Add(type == DType::kF16 ? F32ToF16(x) : F32ToBf16(x));
    EXPECT_EQ(hash.Text(), hashes.at(std::string(DTypeName(type)) + " encode"));
  }
  EXPECT_EQ(F32ToF16(65519.99f), 0x7bff);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);
  EXPECT_EQ(F32ToF16(-kInf), 0xfc00);
  EXPECT_EQ(F32ToF16(1e-45f), 0);
  EXPECT_EQ(F32ToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0x7f800001u)) & 0x7fc0, 0x7fc0);  // a NaN with low bits only stays a NaN
}

TEST(Scalar, RowsAreTheSameAsSingleElements) {
  std::vector<float> x = HalfInputs(DType::kF16);
  x.push_back(kNan);
  const auto count = static_cast<int64_t>(x.size());
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3, DType::kE5M2, DType::kE2M1, DType::kI8, DType::kI32}) {
    const int64_t size = DTypeBytes(type);
    std::vector<std::byte> rows(x.size() * static_cast<size_t>(size) + 1), single(rows.size());
    ConvertFromF32(type, x.data(), count, rows.data() + 1);  // unaligned
    for (int64_t i = 0; i < count; ++i) StoreScalar(type, single.data() + 1, i, x[static_cast<size_t>(i)]);
    ASSERT_EQ(rows, single) << DTypeName(type);
    std::vector<float> back(x.size());
    ConvertToF32(type, rows.data() + 1, count, back.data());
    for (int64_t i = 0; i < count; ++i) {
      const float one = LoadScalar(type, rows.data() + 1, i);
      ASSERT_EQ(std::bit_cast<uint32_t>(back[static_cast<size_t>(i)]), std::bit_cast<uint32_t>(one)) << DTypeName(type) << " " << i;
    }
  }
}

TEST(Scalar, IntegersRoundToEvenAndSaturate) {
  std::byte bytes[8];
  const auto store = [&](DType type, float x) {
    StoreScalar(type, bytes, 0, x);
    return LoadScalar(type, bytes, 0);
  };
  EXPECT_EQ(store(DType::kI8, 2.5f), 2);
  EXPECT_EQ(store(DType::kI8, 3.5f), 4);
  EXPECT_EQ(store(DType::kI8, -200), -128);
  EXPECT_EQ(store(DType::kI8, kInf), 127);
  EXPECT_EQ(store(DType::kI8, kNan), 0);
  EXPECT_EQ(store(DType::kU8, -1), 0);
  EXPECT_EQ(store(DType::kU16, 70000), 65535);
  EXPECT_EQ(store(DType::kI16, -40000), -32768);
  EXPECT_EQ(store(DType::kI32, 1e20f), 2147483648.0f);
  EXPECT_EQ(store(DType::kI64, -1e30f), -9223372036854775808.0f);
  EXPECT_EQ(store(DType::kU64, 1e30f), 18446744073709551616.0f);
  EXPECT_EQ(store(DType::kF64, 0.1f), 0.1f);
}

}  // namespace
}  // namespace nibble
