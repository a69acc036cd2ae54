// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/mlx/config.h"

namespace nibble {
namespace {

class MlxCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(MlxCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, MlxCheckpoint, ::testing::Values("mlxlm-4bit-g64", "autoround-mlx-w4g64-asym"));

TEST(MlxGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/mlx/golden/mlxlm-4bit-g64");
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}

Result<MlxConfig> ParseMlx(const std::string& text) { return MlxConfig::Parse(*ParseJson(text, "test"), "config.json"); }

TEST(MlxConfig, ModulesHaveSettingsOfTheirOwn) {
  const MlxConfig config = *ParseMlx(R"({"group_size":64,"bits":4,"mode":"affine","model.embed_tokens":false,
      "model.layers.0.mlp.down_proj":{"bits":8,"group_size":32},"lm_head":{"mode":"mxfp8"},"model.norm":true})");
  EXPECT_FALSE(config.Find("model.embed_tokens"));
  EXPECT_EQ(config.Find("model.layers.0.mlp.down_proj")->bits, 8);
  EXPECT_EQ(config.Find("model.layers.1.mlp.down_proj")->group_size, 64);
  EXPECT_EQ(config.Find("lm_head")->mode, MlxMode::kMxFp8);
  EXPECT_EQ(config.Find("lm_head")->bits, 8);
  EXPECT_EQ(config.Find("lm_head")->group_size, 32);
}

// mlx-lm's own: a router of 8 bits in a model of mxfp4, without a word about its mode.
TEST(MlxConfig, AModuleWithoutAModeIsAffine) {
  const MlxConfig config = *ParseMlx(R"({"group_size":32,"bits":4,"mode":"mxfp4","a.mlp.gate":{"group_size":64,"bits":8}})");
  EXPECT_EQ(config.Find("a.mlp.gate")->mode, MlxMode::kAffine);
  EXPECT_EQ(config.Find("a.mlp.gate")->bits, 8);
  EXPECT_EQ(config.Find("a.mlp.up_proj")->mode, MlxMode::kMxFp4);
}

TEST(MlxConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseMlx(R"({"bits":4,"group_size":64,"mode":"best"})").error().ToString(),
            "unsupported: config.json: mode \"best\"; readable are affine, mxfp4, mxfp8, nvfp4");
  EXPECT_EQ(ParseMlx(R"({"bits":8,"group_size":32,"mode":"mxfp4"})").error().ToString(),
            "corrupt: config.json: bits is 8 in mode mxfp4, wanted 4");
  EXPECT_EQ(ParseMlx(R"({"bits":4,"group_size":0})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseMlx(R"({"bits":9,"group_size":64})").error().code, Code::kCorrupt);
}

TEST(MlxWeight, ContradictionsNameBothSides) {
  const std::string folder = testing::Repo("src/methods/mlx/golden/mlxlm-4bit-g64");
  testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  checkpoint.config = *FindQuantization("mlx")->from_config(*ParseJson(R"({"bits":8,"group_size":64})", "test"), {"config.json"});
  const std::string text = checkpoint.Load("model.layers.0.self_attn.k_proj", 128, 256).error().ToString();
  EXPECT_NE(text.find("k_proj.weight is [128,32], wanted [128,64]"), std::string::npos) << text;
}

}  // namespace
}  // namespace nibble
