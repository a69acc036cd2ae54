// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "formats/transform.h"
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

Result<AutoRoundConfig> ParseAutoRound(const std::string& text) {
  return AutoRoundConfig::Parse(*ParseJson(text, "test"), {"config.json"});
}

TEST(AutoRoundConfig, NamesThenEndsThenExpressionsDecide) {
  const AutoRoundConfig config =
      *ParseAutoRound(R"({"bits":4,"group_size":128,"block_name_to_quantize":"model.layers, model.more","extra_config":{
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
  const auto packing = [](const char* name) {
    return ParseAutoRound(fmt::format(R"({{"bits":4,"packing_format":"{}"}})", name))->packing;
  };
  EXPECT_EQ(packing("auto_round:auto_gptq"), AutoRoundPacking::kGptqV1);
  EXPECT_EQ(packing("auto_round:gptqmodel"), AutoRoundPacking::kGptqV2);
  EXPECT_EQ(packing("auto_round"), AutoRoundPacking::kGptqV2);
  EXPECT_EQ(packing("auto_round:auto_awq"), AutoRoundPacking::kAwq);
  EXPECT_EQ(packing("auto_round:llm_compressor"), AutoRoundPacking::kOther);
  EXPECT_EQ(packing("auto_round:mlx"), AutoRoundPacking::kMlx);
  const auto mlx =
      FindQuantization("auto-round")
          ->from_config(
              *ParseJson(R"({"bits":4,"group_size":64,"packing_format":"auto_round:mlx","extra_config":{"a.b":{"bits":8}}})",
                         "test"),
              {});
  ASSERT_TRUE(mlx) << mlx.error().ToString();
  EXPECT_EQ((*mlx)->name(), "mlx");
}

// What the tool writes of an lm_head that it quantizes, or of a layer that it leaves alone.
TEST(AutoRoundConfig, EntriesMadeFromPresetsNameFloatActivations) {
  const AutoRoundConfig config = *ParseAutoRound(R"({"bits":4,"extra_config":{
      "lm_head":{"bits":4,"act_bits":16,"act_data_type":"float","data_type":"int","group_size":128,"rotation_config":null},
      ".*k_proj.*":{"bits":16,"data_type":"float","act_data_type":"float"}}})");
  EXPECT_TRUE(config.Find({.kind = LayerKind::kLmHead, .name = "lm_head"}).quantized());
  EXPECT_FALSE(config.Find({.name = "model.layers.0.self_attn.k_proj"}).quantized());
}

// FP8_BLOCK: two numbers for the group, transformers' name for the scales.
TEST(AutoRound, BlocksOfFp8) {
  const std::vector<uint8_t> codes(4 * 8, 0x38);  // 1.0
  const float scales[4] = {1, 2, 3, 4};
  StoredTensor weight{.view = TensorView(codes.data(), DType::kE4M3, {4, 8})},
      scale{.view = TensorView(scales, DType::kF32, {2, 2})};
  const auto json = ParseJson(R"({"bits":8,"data_type":"fp","group_size":[2,4],"act_bits":8,"act_data_type":"fp",
      "act_dynamic":true,"act_group_size":4,"packing_format":"auto_round:fp8"})",
                              "test");
  const auto config = FindQuantization("auto-round")->from_config(*json, {"config.json", nullptr});
  ASSERT_TRUE(config) << config.error().ToString();
  const auto has = [](std::string_view suffix) { return suffix == "weight" || suffix == "weight_scale_inv"; };
  const auto method = *(*config)->GetQuantMethod({.name = "a", .has = has});
  ASSERT_TRUE(method);
  const auto part =
      method->MakeWeight({.name = "a", .n = 4, .k = 8, .params = {{"weight", &weight}, {"weight_scale_inv", &scale}}});
  ASSERT_TRUE(part) << part.error().ToString();
  std::vector<float> row(8);
  DecodeRows(*part->weight, {2, 3}, {0, 8}, row.data());
  EXPECT_EQ(row, std::vector<float>({3, 3, 3, 3, 4, 4, 4, 4}));
  EXPECT_EQ(part->act.grain, ActivationSpec::kGroup);
  EXPECT_EQ(part->act.group, 4);
  EXPECT_EQ(ParseAutoRound(R"({"bits":8,"group_size":[2]})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseAutoRound(R"({"bits":8,"group_size":[0,4]})").error().code, Code::kCorrupt);
}

TEST(AutoRoundConfig, RotationsAreBlocksOfHadamardMatrices) {
  const auto parse = [](const std::string& rotation, const std::string& data = "mx_fp") {
    return ParseAutoRound(R"({"bits":4,"data_type":")" + data + R"(","rotation_config":)" + rotation + "}");
  };
  EXPECT_EQ(parse(R"({"algorithm":"hadamard","hadamard_type":"hadamard","block_size":64})")->rotation, 64);
  EXPECT_EQ(parse(R"({"hadamard_type":"hadamard","block_size":null})")->rotation, 32);
  EXPECT_TRUE(parse(R"({"hadamard_type":"random_hadamard"})")->random_rotation);
  EXPECT_EQ(parse("{}")->rotation, 0);
  EXPECT_EQ(parse(R"({"hadamard_type":"quarot_hadamard"})").error().code, Code::kUnsupported);
  EXPECT_EQ(parse(R"({"hadamard_type":"hadamard"})", "int").error().code, Code::kUnsupported);
  EXPECT_EQ(parse(R"({"block_size":48})").error().code, Code::kCorrupt);
}

// x = e_1 in blocks of two: turned by H / sqrt(2), or by M^T.
TEST(AutoRound, RotatesBeforeItQuantizes) {
  const std::vector<uint8_t> codes(2, 0x22), scales(1, 127);
  const float matrix[4] = {1, 2, 3, 4};
  StoredTensor weight{.view = TensorView(codes.data(), DType::kU8, {1, 2})},
      scale{.view = TensorView(scales.data(), DType::kU8, {1, 1})}, m{.view = TensorView(matrix, DType::kF32, {2, 2})};
  const auto rotated = [&](const char* type, bool has_matrix) {
    const auto json = ParseJson(
        fmt::format(R"({{"bits":4,"group_size":4,"data_type":"mx_fp","rotation_config":{{"hadamard_type":"{}","block_size":2}}}})",
                    type),
        "test");
    const auto config = *FindQuantization("auto-round")->from_config(*json, {});
    const auto method =
        *config->GetQuantMethod({.name = "a", .has = [](std::string_view suffix) { return suffix == "weight_packed"; }});
    BoundParams params{.name = "a", .n = 1, .k = 4, .params = {{"weight_packed", &weight}, {"weight_scale", &scale}}};
    if (has_matrix) params.params.emplace_back("hadamard_matrix", &m);
    const auto part = method->MakeWeight(params);
    std::vector<float> row = {0, 1, 0, 0}, scratch(4);
    if (!part) return std::vector<float>();
    EXPECT_TRUE(ApplyTransforms(part->weight->in, row.data(), 4, scratch.data()));
    return row;
  };
  const float h = std::sqrt(0.5f);
  const std::vector<float> plain = rotated("hadamard", false);
  ASSERT_EQ(plain.size(), 4u);
  EXPECT_FLOAT_EQ(plain[0], h);
  EXPECT_FLOAT_EQ(plain[1], -h);
  EXPECT_EQ(rotated("random_hadamard", true), std::vector<float>({2, 4, 0, 0}));
  EXPECT_TRUE(rotated("random_hadamard", false).empty());
}

// Scales of static_kv_dtype are claimed, and the cache stays as it is, as when the tool loads the folder itself.
TEST(AutoRound, CacheScalesDoNotChangeTheCache) {
  const auto config = *FindQuantization("auto-round")->from_config(*ParseJson(R"({"bits":4,"static_kv_dtype":"fp8"})", "test"), {});
  const auto method = *config->GetKvCacheMethod({.kind = LayerKind::kAttention, .name = "a"});
  ASSERT_TRUE(method);
  EXPECT_FALSE(method->formats());
}

TEST(AutoRoundConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseAutoRound(R"({"bits":0})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseAutoRound(R"({"bits":4,"data_type":"best"})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseAutoRound(R"({"bits":4,"extra_config":{"a":3}})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseAutoRound(R"({"bits":4,"extra_config":{"(":{}}})").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
