// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "quantizers/quantizer.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

struct Case {
  int64_t n, k;
  std::vector<float> w;
};
Case RandomCase(int64_t n, int64_t k, unsigned seed) {
  std::mt19937 engine(seed);
  Case made{n, k, std::vector<float>(static_cast<size_t>(n * k))};
  for (float& x : made.w) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(engine()) / 4294967296.0 - 0.5;
    x = static_cast<float>(sum * 0.05);
  }
  return made;
}

Result<StoredWeight> Round(const Case& c, const WeightScheme& scheme, bool search, int threads = 1, DType scales = DType::kBF16) {
  ThreadTeam team(threads);
  return FindQuantizer("rtn")->round({.name = "layer.q_proj",
                                      .w = c.w.data(),
                                      .n = c.n,
                                      .k = c.k,
                                      .scheme = scheme,
                                      .options = {.scale_search = search, .scale_dtype = scales},
                                      .team = &team});
}

std::vector<float> Decode(const StoredWeight& weight) {
  std::vector<float> out(static_cast<size_t>(weight.n * weight.k));
  DecodeRows(weight, {0, weight.n}, {0, weight.k}, out.data());
  return out;
}

double ErrorOf(const Case& c, const StoredWeight& weight) {
  const std::vector<float> got = Decode(weight);
  double error = 0;
  for (size_t i = 0; i < got.size(); ++i) error += std::pow(static_cast<double>(got[i]) - static_cast<double>(c.w[i]), 2);
  return error;
}

WeightScheme Ints(int bits, bool symmetric, int64_t group) {
  return {.grain = group ? WeightScheme::kGroup : WeightScheme::kChannel, .bits = bits, .symmetric = symmetric, .group = group};
}

TEST(Rtn, KeepsWeightsThatAreCodesAlready) {
  // 15 steps of 0.5: plain scale 7.5 * 0.5 / 7.5.
  Case c{1, 8, {-3.75f, 0.5f, 1, 1.5f, -2, 0, 3.5f, -0.5f}};
  const StoredWeight plain = Round(c, Ints(4, true, 8), false, 1, DType::kF32).value();
  EXPECT_EQ(Decode(plain),
            (std::vector<float>{-4, 0.5f, 1, 1.5f, -2, 0, 3.5f, -0.5f}));  // -3.75 / 0.5 = -7.5: ties go to the even code
  c.w[0] = -4;
  EXPECT_EQ(Decode(Round(c, Ints(4, true, 8), true, 1, DType::kF32).value()), c.w);
  const Case asymmetric{1, 4, {0, 1, 2, 3}};
  EXPECT_EQ(Decode(Round(asymmetric, Ints(2, false, 4), false, 1, DType::kF32).value()), asymmetric.w);
  const Case shifted{1, 4, {-1, 0, 1, 2}};
  EXPECT_EQ(Decode(Round(shifted, Ints(2, false, 4), true, 1, DType::kF32).value()), shifted.w);
  const Case positive{1, 4, {8, -7, 3, -1}};  // only a negative scale reaches it
  EXPECT_EQ(Decode(Round(positive, Ints(4, true, 4), true, 1, DType::kF32).value()), positive.w);
}

TEST(Rtn, SearchIsNeverWorse) {
  const Case c = RandomCase(6, 256, 7);
  for (const bool symmetric : {true, false})
    for (int bits = 2; bits <= 8; ++bits)
      for (const int64_t group : {32, 128, 0})
        for (const DType scales : {DType::kF32, DType::kF16, DType::kBF16}) {
          const auto plain = Round(c, Ints(bits, symmetric, group), false, 1, scales),
                     searched = Round(c, Ints(bits, symmetric, group), true, 1, scales);
          ASSERT_TRUE(plain && searched);
          EXPECT_LE(ErrorOf(c, *searched), ErrorOf(c, *plain) * (1 + 1e-6)) << bits << " bits, group " << group;
          if (bits <= 4) {
            EXPECT_LT(ErrorOf(c, *searched), 0.97 * ErrorOf(c, *plain)) << bits << " bits, group " << group;
          }
          EXPECT_TRUE(VerifyValues(*searched));
        }
}

TEST(Rtn, ThreadsDoNotMatter) {
  const Case c = RandomCase(13, 384, 3);
  for (const WeightScheme& scheme :
       {Ints(4, true, 128), Ints(3, false, 64),
        WeightScheme{.grain = WeightScheme::kBlock, .bits = 8, .is_float = true, .block_n = 4, .block_k = 128}})
    EXPECT_EQ(Decode(Round(c, scheme, true, 1).value()), Decode(Round(c, scheme, true, 3).value()));
}

TEST(Rtn, ZerosStayZeros) {
  const Case c{3, 128, std::vector<float>(384)};
  for (const WeightScheme& scheme : {Ints(4, true, 64), Ints(4, false, 64), Ints(8, true, 0),
                                     WeightScheme{.grain = WeightScheme::kChannel, .bits = 8, .is_float = true}})
    for (const DType scales : {DType::kF32, DType::kF16, DType::kBF16}) {
      const auto weight = Round(c, scheme, true, 1, scales);
      ASSERT_TRUE(weight);
      EXPECT_EQ(Decode(*weight), c.w);
      EXPECT_TRUE(VerifyValues(*weight));
    }
}

TEST(Rtn, TinyAndHugeWeightsHaveUsableScales) {
  for (const float size : {1e-40f, 1e-30f, 1e-8f, 1e30f, 3e38f}) {
    Case c = RandomCase(1, 32, 5);
    for (float& x : c.w) x = x / 0.1f * size;
    for (const bool symmetric : {true, false}) {
      const auto weight = Round(c, Ints(4, symmetric, 32), true);
      ASSERT_TRUE(weight);
      EXPECT_TRUE(VerifyValues(*weight)) << size;
      for (const float x : Decode(*weight)) EXPECT_TRUE(std::isfinite(x)) << size;
    }
  }
}

TEST(Rtn, FloatsAreWithinTheirStep) {
  const Case c = RandomCase(5, 256, 11);
  for (const WeightScheme& scheme :
       {WeightScheme{.grain = WeightScheme::kChannel, .bits = 8, .is_float = true},
        WeightScheme{.grain = WeightScheme::kBlock, .bits = 8, .is_float = true, .block_n = 4, .block_k = 96}}) {
    const auto weight = Round(c, scheme, true);
    ASSERT_TRUE(weight) << weight.error().ToString();
    double norm = 0;
    for (const float x : c.w) norm += static_cast<double>(x) * static_cast<double>(x);
    EXPECT_LT(std::sqrt(ErrorOf(c, *weight) / norm), 0.035);
  }
}

TEST(Rtn, ImportanceMovesTheError) {
  const Case c = RandomCase(1, 64, 2);
  std::vector<float> importance(64, 1e-3f);
  for (int i = 0; i < 8; ++i) importance[static_cast<size_t>(i)] = 1;
  ThreadTeam team(1);
  RoundRequest request{.name = "x", .w = c.w.data(), .n = 1, .k = 64, .scheme = Ints(3, true, 64), .team = &team};
  const auto first = [&](const StoredWeight& weight) {
    const std::vector<float> got = Decode(weight);
    double error = 0;
    for (size_t i = 0; i < 8; ++i) error += std::pow(static_cast<double>(got[i]) - static_cast<double>(c.w[i]), 2);
    return error;
  };
  const double plain = first(FindQuantizer("rtn")->round(request).value());
  request.statistics.importance = importance;
  EXPECT_LT(first(FindQuantizer("rtn")->round(request).value()), plain);
}

TEST(Rtn, RefusesWhatIsNotFinite) {
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    Case c = RandomCase(3, 64, 1);
    c.w[64 + 5] = bad;
    for (const int threads : {1, 2}) {
      const auto weight = Round(c, Ints(4, true, 32), true, threads);
      ASSERT_FALSE(weight);
      EXPECT_EQ(weight.error().code, Code::kCorrupt);
      EXPECT_THAT(weight.error().message, HasSubstr("layer.q_proj: the weight at row 1, column 5"));
    }
  }
  EXPECT_EQ(Round(RandomCase(1, 48, 1), Ints(4, true, 32), true).error().code, Code::kUsage);
}

}  // namespace
}  // namespace nibble
