// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/auto_round/config.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

class AutoRoundCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(AutoRoundCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, AutoRoundCheckpoint,
                         ::testing::Values("autoround-w4g128-sym", "autoround-w2g64-asym", "autoround-w4-mixed-bits",
                                           "autoround-w4g128-auto-awq-packing", "autoround-mxint4", "autoround-nvfp4"));

class AutoRoundGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(AutoRoundGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/auto_round/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, AutoRoundGolden,
                         ::testing::Values("autoround-w2g64-asym", "autoround-w4-mixed-bits", "autoround-mxint4"));

Result<AutoRoundConfig> Parse(const std::string& text) { return AutoRoundConfig::Parse(*ParseJson(text, "test"), {"config.json"}); }

TEST(AutoRoundConfig, NamesThenEndsThenExpressionsDecide) {
  const AutoRoundConfig config =
      *Parse(R"({"bits":4,"group_size":128,"block_name_to_quantize":"model.layers, model.more","extra_config":{
      ".*layers.0.*":{"bits":2}, "model.layers.0.mlp.up_proj":{"bits":8,"group_size":32}, "k_proj":{"bits":16}, "lm_head":{"bits":4}}})");
  const auto bits = [&](const char* name, LayerKind kind = LayerKind::kLinear) {
    return config.Find({.kind = kind, .name = name}).bits;
  };
  EXPECT_EQ(bits("model.layers.0.mlp.up_proj"), 8);
  EXPECT_EQ(bits("model.layers.0.mlp.gate_proj"), 2);
  EXPECT_EQ(bits("model.layers.1.self_attn.k_proj"), 16);
  EXPECT_EQ(bits("model.layers.1.self_attn.q_proj"), 4);
  EXPECT_EQ(bits("model.more.q_proj"), 4);
  EXPECT_EQ(bits("vision.q_proj"), 16);
  EXPECT_EQ(bits("lm_head", LayerKind::kLmHead), 4);
  EXPECT_EQ(bits("model.embed_tokens", LayerKind::kEmbedding), 16);
  EXPECT_EQ(config.Find({.name = "model.layers.0.mlp.up_proj"}).group_size, 32);
}

TEST(AutoRoundConfig, PackingsByTheirNames) {
  const auto packing = [](const char* name) { return Parse(fmt::format(R"({{"bits":4,"packing_format":"{}"}})", name))->packing; };
  EXPECT_EQ(packing("auto_round:auto_gptq"), AutoRoundPacking::kGptqV1);
  EXPECT_EQ(packing("auto_round:gptqmodel"), AutoRoundPacking::kGptqV2);
  EXPECT_EQ(packing("auto_round"), AutoRoundPacking::kGptqV2);
  EXPECT_EQ(packing("auto_round:auto_awq"), AutoRoundPacking::kAwq);
  EXPECT_EQ(packing("auto_round:llm_compressor"), AutoRoundPacking::kOther);
}

TEST(AutoRoundConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(Parse(R"({"bits":0})").error().code, Code::kCorrupt);
  EXPECT_EQ(Parse(R"({"bits":4,"data_type":"best"})").error().code, Code::kUnsupported);
  EXPECT_EQ(Parse(R"({"bits":4,"extra_config":{"a":3}})").error().code, Code::kCorrupt);
  EXPECT_EQ(Parse(R"({"bits":4,"extra_config":{"(":{}}})").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
