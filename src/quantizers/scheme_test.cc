// SPDX-License-Identifier: Apache-2.0
#include "quantizers/scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nibble {
namespace {
using ::testing::HasSubstr;

TEST(Scheme, ReadsNamesInAnyCase) {
  const Scheme w4 = ParseScheme("w4a16").value();
  EXPECT_EQ(w4.name, "W4A16");
  EXPECT_EQ(w4.weights.bits, 4);
  EXPECT_EQ(w4.weights.group, 128);
  EXPECT_TRUE(w4.weights.symmetric);
  EXPECT_EQ(w4.act.grain, ActivationSpec::kNone);
  EXPECT_FALSE(ParseScheme("W4A16_ASYM")->weights.symmetric);
  EXPECT_FALSE(ParseScheme("w4a16-asym")->weights.symmetric);
  const Scheme int8 = ParseScheme("INT8").value();
  EXPECT_EQ(int8.name, "W8A8");
  EXPECT_EQ(int8.weights.grain, WeightScheme::kChannel);
  EXPECT_EQ(int8.act.code, DType::kI8);
  EXPECT_EQ(int8.act.rule, ActivationSpec::kCompressedTensors);
  const Scheme blocks = ParseScheme("FP8_BLOCK").value();
  EXPECT_EQ(blocks.weights.block_n, 128);
  EXPECT_EQ(blocks.act.group, 128);
}

TEST(Scheme, RefusesWithReasons) {
  EXPECT_EQ(ParseScheme("W9A16").error().code, Code::kUsage);
  EXPECT_THAT(ParseScheme("W9A16").error().message, HasSubstr("available: W4A16, "));
  EXPECT_EQ(ParseScheme("FP8").error().code, Code::kUnsupported);
  EXPECT_THAT(ParseScheme("FP8").error().message, HasSubstr("calibration"));
  EXPECT_EQ(ParseScheme("nvfp4").error().code, Code::kUnsupported);
}

TEST(Scheme, TakesGroupSizesWhereTheyMakeSense) {
  Scheme scheme = ParseScheme("W4A16").value();
  EXPECT_TRUE(SetGroupSize(32, &scheme));
  EXPECT_EQ(scheme.weights.SharedColumns(256), 32);
  EXPECT_TRUE(SetGroupSize(-1, &scheme));
  EXPECT_EQ(scheme.weights.grain, WeightScheme::kChannel);
  EXPECT_EQ(scheme.weights.SharedColumns(256), 256);
  EXPECT_EQ(SetGroupSize(0, &scheme).error().code, Code::kUsage);
  Scheme fp8 = ParseScheme("FP8_DYNAMIC").value();
  EXPECT_EQ(SetGroupSize(64, &fp8).error().code, Code::kUsage);
  Scheme w8a8 = ParseScheme("W8A8").value();
  EXPECT_EQ(SetGroupSize(64, &w8a8).error().code, Code::kUsage);
}

}  // namespace
}  // namespace nibble
