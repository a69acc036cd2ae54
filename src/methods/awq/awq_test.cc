// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/awq/config.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

class AwqCheckpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(AwqCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, AwqCheckpoint,
                         ::testing::Values("gptqmodel-awq-gemm-g128", "gptqmodel-awq-gemv-g128", "gptqmodel-awq-gemv-fast-g128",
                                           "autoawq-gemm-g128", "autoawq-marlin-g128"));

class AwqGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(AwqGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/awq/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, AwqGolden, ::testing::Values("autoawq-gemm-g128", "gptqmodel-awq-gemv-fast-g128"));

Result<std::unique_ptr<QuantizationConfig>> ParseAwq(const std::string& text) {
  return FindQuantization("awq")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

TEST(AwqConfig, ReadsOldAndNewKeys) {
  const AwqConfig old =
      *AwqConfig::Parse(*ParseJson(R"({"w_bit":4,"q_group_size":64,"version":"GEMM","zero_point":true})", "test"), {"x"});
  EXPECT_EQ(old.layout.group_size, 64);
  EXPECT_EQ(old.layout.version, AwqVersion::kGemm);
  const AwqConfig fast =
      *AwqConfig::Parse(*ParseJson(R"({"bits":4,"group_size":128,"version":"gemv_fast","format":"gemv_fast"})", "test"), {"x"});
  EXPECT_EQ(fast.layout.version, AwqVersion::kGemvFast);
  const AwqConfig original = *AwqConfig::Parse(*ParseJson(R"({"w_bit":4,"q_group_size":128,"backend":"llm-awq"})", "test"), {"x"});
  EXPECT_EQ(original.layout.version, AwqVersion::kGemvFast);
  const AwqConfig ruled =
      *AwqConfig::Parse(*ParseJson(R"({"bits":4,"group_size":128,"dynamic":{".*down_proj":{"group_size":32}}})", "test"), {"x"});
  EXPECT_EQ(ruled.LayoutOf({.name = "layers.0.mlp.down_proj"}).group_size, 32);
  EXPECT_EQ(ruled.LayoutOf({.name = "layers.0.mlp.up_proj"}).group_size, 128);
  const auto config = *ParseAwq(R"({"bits":4,"modules_to_not_convert":["mlp.gate"]})");
  EXPECT_EQ(*config->GetQuantMethod({.name = "layers.0.mlp.gate"}), nullptr);
  EXPECT_NE(*config->GetQuantMethod({.name = "layers.0.mlp.up_proj"}), nullptr);
}

TEST(AwqConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseAwq(R"({"bits":4,"version":"gemm","format":"gemv"})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseAwq(R"({"bits":4,"version":"best"})").error().ToString(),
            "unsupported: config.json: version \"best\"; readable are gemm, gemv, gemv_fast, marlin");
  EXPECT_EQ(ParseAwq(R"({"bits":16})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseAwq(R"({"bits":4,"modules_to_not_convert":"lm_head"})").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
