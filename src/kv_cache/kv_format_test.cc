// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/kv_format.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace nibble {
namespace {

std::vector<float> Row(int64_t width, uint32_t seed, float outlier = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(width));
  for (float& value : x) value = normal(random);
  if (outlier > 0) x[3] = outlier;
  return x;
}

std::vector<float> RoundTrip(const KvFormat& format, const std::vector<float>& x, float scale = 0) {
  const auto width = static_cast<int64_t>(x.size());
  std::vector<std::byte> row(static_cast<size_t>(KvRowBytes(format, width) + 1), std::byte{0xa5});
  format.encode(x.data(), width, scale, row.data());
  EXPECT_EQ(row.back(), std::byte{0xa5}) << "wrote beyond its row";
  std::vector<float> out(static_cast<size_t>((width + 15) / 16 * 16), 7.0f);
  DecodeKvRow(format, row.data(), width, 1, nullptr, out.data());
  for (size_t i = x.size(); i < out.size(); ++i) EXPECT_EQ(out[i], 0);
  out.resize(x.size());
  return out;
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a[i] - b[i]), 2);
    norm += std::pow(static_cast<double>(a[i]), 2);
  }
  return std::sqrt(error / norm);
}

TEST(KvFormat, EncodedRowsComeBackWithinTheirBits) {
  for (const std::string_view name : KvFormatNames()) {
    const KvFormats formats = *ParseKvFormats(name);
    for (const KvFormat* format : {formats.k, formats.v}) {
      if (!format->encode) continue;
      for (const int64_t width : {16, 64, 80, 96, 112, 128, 256, 30}) {
        SCOPED_TRACE(std::string(name) + " " + std::to_string(width));
        const std::vector<float> x = Row(width, static_cast<uint32_t>(width));
        EXPECT_LT(RelativeError(x, RoundTrip(*format, x)), format->bits >= 8 ? 0.08 : format->bits == 4 ? 0.2 : 0.4);
        const std::vector<float> zeros(static_cast<size_t>(width));
        EXPECT_EQ(RoundTrip(*format, zeros), zeros);
      }
    }
  }
}

// What rotation is for: one large channel does not take the others' codes away.
TEST(KvFormat, RotationKeepsSmallChannelsBesideALargeOne) {
  const std::vector<float> x = Row(128, 1, 40.0f);
  std::vector<float> rest = x, back = RoundTrip(*ParseKvFormats("int4")->k, x);
  rest[3] = back[3] = 0;
  EXPECT_LT(RelativeError(rest, back), 0.5);
}

// The published rule: scale max(amax / 127, 1e-6), halves away from zero.
TEST(KvFormat, Int8RowIsBitForBitTheRule) {
  const KvFormat& format = *ParseKvFormats("int8")->k;
  std::vector<float> x(16, 0.0f);
  x[0] = -127.0f;
  x[1] = 2.5f;
  x[2] = -2.5f;
  std::vector<std::byte> row(static_cast<size_t>(KvRowBytes(format, 16)));
  format.encode(x.data(), 16, 0, row.data());
  float scale;
  std::memcpy(&scale, row.data(), 4);
  EXPECT_EQ(scale, 1.0f);
  EXPECT_EQ(static_cast<int8_t>(row[4]), -127);
  EXPECT_EQ(static_cast<int8_t>(row[5]), 3);
  EXPECT_EQ(static_cast<int8_t>(row[6]), -3);
  EXPECT_EQ(KvRowBytes(format, 128), 132);
  EXPECT_EQ(KvRowBytes(*ParseKvFormats("int4")->k, 128), 68);
  EXPECT_EQ(KvRowBytes(*ParseKvFormats("turbo3")->k, 128), 52);
  EXPECT_EQ(KvRowBytes(*ParseKvFormats("bf16")->k, 80), 160);
}

// ModelOpt's rule for blocks of 16: e4m3 of amax / (6 g), g = scale / 6, then e2m1 of x / (that * g); no rotation, no copies.
TEST(KvFormat, StaticNvfp4ReadsTheCheckpointsScale) {
  const KvFormats formats = StaticNvfp4Kv();
  std::vector<float> x(16, 0.0f);
  x[0] = 6.0f, x[1] = -2.6f, x[2] = 0.2f;
  EXPECT_EQ(RoundTrip(*formats.k, x, 6.0f), (std::vector<float>{6, -3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  x[0] = 6000.0f;  // the block's scale saturates at 448
  EXPECT_EQ(RoundTrip(*formats.k, x, 6.0f)[0], 6.0f * 448.0f);
  EXPECT_FALSE(formats.keeps_ends());
  EXPECT_FALSE(formats.k->adds_bias);
  EXPECT_FALSE(ParseKvFormats(formats.name()));
}

TEST(KvFormat, StaticInt8ReadsTheCheckpointsScaleHalvesToEven) {
  EXPECT_EQ(RoundTrip(*StaticInt8Kv().k, {1.25f, 1.75f, -1.25f, 100.0f}, 0.5f), (std::vector<float>{1, 2, -1, 63.5f}));
}

TEST(KvFormat, NamesAndAliases) {
  EXPECT_EQ(*ParseKvFormats("fp8"), *ParseKvFormats("fp8_e4m3"));
  EXPECT_EQ(*ParseKvFormats("int8"), *ParseKvFormats("int8_per_token_head"));
  EXPECT_EQ(ParseKvFormats("turboquant_k8v4")->name(), "fp8_per_token_head / turbo4");
  EXPECT_EQ(KvFormats(DType::kBF16).name(), "bf16");
  EXPECT_TRUE(KvFormats(DType::kE4M3).direct());
  EXPECT_FALSE(KvFormats(ParseKvFormats("bf16")->k, ParseKvFormats("f16")->v).direct());
  EXPECT_EQ(ParseKvFormats("int9").error().message, "K/V cache type \"int9\" is unknown; nearest: int8, int4, f32");
}

}  // namespace
}  // namespace nibble
