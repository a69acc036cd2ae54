// SPDX-License-Identifier: Apache-2.0
#include "formats/online.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tensors/scalar.h"

namespace nibble {
namespace {

Tensor Normal(int64_t n, int64_t k) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 0.05f);
  Tensor w(DType::kF32, {n, k});
  for (int64_t i = 0; i < n * k; ++i) w.as<float>()[i] = normal(random);
  return w;
}

StoredWeight Source(const Tensor& w) { return MakeDense(w.view, {"f", "t"}, w.bytes); }

std::vector<float> DecodeOnline(const StoredWeight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.n * weight.k));
  DecodeRows(weight, {0, weight.n}, {0, weight.k}, values.data());
  return values;
}

double RelativeError(const StoredWeight& weight, Tensor w) {
  double error = 0, norm = 0;
  const std::vector<float> values = DecodeOnline(weight);
  for (size_t i = 0; i < values.size(); ++i) {
    const double x = static_cast<double>(w.as<float>()[i]), d = static_cast<double>(values[i]) - x;
    error += d * d;
    norm += x * x;
  }
  return std::sqrt(error / norm);
}

class Online : public ::testing::TestWithParam<std::string> {};

// Root mean square error relative to the weights, for normal weights: what the bits of the format allow, within a factor of 1.5.
TEST_P(Online, ErrorIsWhatTheBitsAllow) {
  const OnlineFormat& format = *FindOnlineFormat(GetParam());
  const Tensor w = Normal(40, 512);
  ThreadTeam one(1), three(3);
  const auto weight = EncodeOnline(format, Source(w), one);
  ASSERT_TRUE(weight) << weight.error().ToString();
  EXPECT_TRUE(VerifyValues(*weight));
  const double bits = BitsPerWeight(*weight);
  EXPECT_LT(RelativeError(*weight, w), 4.0 * std::exp2(-std::floor(bits)) + (format.rule == OnlineFormat::kFloat ? 0.05 : 0.02))
      << Describe(*weight) << " " << bits;
  EXPECT_EQ(DecodeOnline(*weight), DecodeOnline(*EncodeOnline(format, Source(w), three)));
}

TEST_P(Online, ZerosAreExactAndNanIsRefused) {
  const OnlineFormat& format = *FindOnlineFormat(GetParam());
  ThreadTeam team(2);
  Tensor w(DType::kF32, {3, 256});
  const auto zeros = EncodeOnline(format, Source(w), team);
  ASSERT_TRUE(zeros) << zeros.error().ToString();
  for (const float value : DecodeOnline(*zeros)) ASSERT_EQ(value, 0);
  w.as<float>()[256 + 7] = std::numeric_limits<float>::quiet_NaN();
  const auto bad = EncodeOnline(format, Source(w), team);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "f: tensor \"t\": the weight at row 1, column 7 is not finite and cannot be quantized");
}

std::vector<std::string> OnlineNames() {
  std::vector<std::string> names;
  for (const OnlineFormat& format : OnlineFormats()) names.emplace_back(format.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(All, Online, ::testing::ValuesIn(OnlineNames()), [](const auto& test) { return test.param; });

TEST(OnlineFormat, RaggedRowsHaveAShortLastBlock) {
  const Tensor w = Normal(5, 200);
  ThreadTeam team(1);
  for (const char* name : {"int4", "nf4", "mxfp4", "nvfp4", "fp8"}) {
    const auto weight = EncodeOnline(*FindOnlineFormat(name), Source(w), team);
    ASSERT_TRUE(weight);
    EXPECT_LT(RelativeError(*weight, w), 0.15) << name;
  }
  EXPECT_EQ(EncodeOnline(*FindOnlineFormat("q4_k"), Source(w), team).error().code, Code::kUnsupported);
}

TEST(OnlineFormat, Nf4PicksTheNearestValue) {
  Tensor w(DType::kF32, {1, 64});
  w.as<float>()[0] = -2.0f;
  w.as<float>()[1] = 0.1592f;  // 0.0796 of the largest
  w.as<float>()[2] = 1.6f;
  ThreadTeam team(1);
  const std::vector<float> values = DecodeOnline(*EncodeOnline(*FindOnlineFormat("nf4"), Source(w), team));
  EXPECT_EQ(values[0], -2.0f);
  EXPECT_EQ(values[1], 2 * 0.07958029955625534f);
  EXPECT_EQ(values[2], 2 * 0.7229568362236023f);
}

}  // namespace
}  // namespace nibble
