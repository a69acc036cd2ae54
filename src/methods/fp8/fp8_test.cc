// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/fp8/config.h"

namespace nibble {
namespace {

class Fp8Checkpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(Fp8Checkpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, Fp8Checkpoint, ::testing::Values("gptqmodel-fp8-row", "hf-fp8-block128"));

class Fp8Golden : public ::testing::TestWithParam<const char*> {};
TEST_P(Fp8Golden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/fp8/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, Fp8Golden, ::testing::Values("hf-fp8-block128", "gptqmodel-fp8-row"));

Result<std::unique_ptr<QuantizationConfig>> Parse(const std::string& text) {
  return FindQuantization("fp8")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

TEST(Fp8Config, ActivationsFollowTheScheme) {
  const std::string folder = testing::Repo("src/methods/fp8/golden/");
  const testing::TestCheckpoint block = testing::TestCheckpoint::Open(folder + "hf-fp8-block128");
  const ActivationSpec grouped = block.Load("model.layers.0.self_attn.k_proj", 128, 256)->act;
  EXPECT_EQ(grouped, (ActivationSpec{.grain = ActivationSpec::kGroup, .code = DType::kE4M3, .group = 128}));
  const testing::TestCheckpoint row = testing::TestCheckpoint::Open(folder + "gptqmodel-fp8-row");
  EXPECT_EQ(row.Load("model.layers.0.self_attn.k_proj", 128, 256)->act, ActivationSpec{});
}

TEST(Fp8Config, RefusesWhatItCannotMean) {
  EXPECT_EQ(Parse(R"({"activation_scheme":"static","weight_block_size":[128,128]})").error().ToString(),
            "corrupt: config.json: activation_scheme static contradicts weight_block_size: block scales need dynamic activations");
  EXPECT_EQ(Parse(R"({"activation_scheme":"sometimes"})").error().code, Code::kCorrupt);
  EXPECT_EQ(Parse(R"({"weight_block_size":[128]})").error().code, Code::kCorrupt);
  EXPECT_EQ(Parse(R"({"weight_block_size":[0,128]})").error().code, Code::kCorrupt);
  EXPECT_EQ(Parse(R"({"store_dtype":"int4"})").error().code, Code::kUnsupported);
  EXPECT_EQ(Parse(R"({"weight_scale_semantics":"sideways"})").error().code, Code::kUnsupported);
}

TEST(Fp8Config, ExceptionsAreExactNames) {
  const auto config = *Parse(R"({"activation_scheme":"dynamic","ignored_layers":["a.gate"],"modules_to_not_convert":null})");
  EXPECT_EQ(*config->GetQuantMethod({.name = "a.gate"}), nullptr);
  EXPECT_NE(*config->GetQuantMethod({.name = "a.gate_proj"}), nullptr);
  EXPECT_EQ(*config->GetQuantMethod({.kind = LayerKind::kLmHead, .name = "lm_head"}), nullptr);
  EXPECT_EQ(*config->GetQuantMethod({.name = "b", .has = [](std::string_view) { return false; }}), nullptr);
}

}  // namespace
}  // namespace nibble
