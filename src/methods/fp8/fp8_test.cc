// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "io/tensor_index.h"
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

TEST(Fp8, FbgemmBoundsTheScaleOfAToken) {
  const auto config = *FindQuantization("fbgemm_fp8")
                           ->from_config(*ParseJson(R"({"quant_method":"fbgemm_fp8","activation_scale_ub":1200.0,
                           "modules_to_not_convert":["lm_head"]})",
                                                    "test"),
                                         {"config.json", nullptr});
  const uint8_t codes[8] = {0x38, 0x40};
  const float scales[2] = {2, 3}, bound = 900;
  StoredTensor weight{.view = TensorView(codes, DType::kE4M3, {2, 4})}, scale{.view = TensorView(scales, DType::kF32, {2, 1})},
      upper{.view = TensorView(&bound, DType::kF32, {1})};
  BoundParams params{.name = "a", .n = 2, .k = 4, .params = {{"weight", &weight}, {"weight_scale", &scale}}};
  const auto method = *config->GetQuantMethod({.name = "a"});
  const auto part = method->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  EXPECT_EQ(part->act.grain, ActivationSpec::kToken);
  EXPECT_EQ(part->act.upper_bound, 1200);
  params.params.emplace_back("input_scale_ub", &upper);
  EXPECT_EQ(method->MakeWeight(params)->act.upper_bound, 900);
}

TEST(Fp8, ExpertsMayBeMxfp4) {
  const auto config = *Parse(R"({"activation_scheme":"dynamic","weight_block_size":[128,128],"scale_fmt":"ue8m0"})");
  uint8_t codes[16] = {0x21};
  const uint8_t exponent = 128;
  StoredTensor weight{.view = TensorView(codes, DType::kU8, {1, 16})}, scale{.view = TensorView(&exponent, DType::kE8M0, {1, 1})};
  const auto part = (*config->GetQuantMethod({.kind = LayerKind::kExpert, .name = "a"}))
                        ->MakeWeight({.name = "a", .n = 1, .k = 32, .params = {{"weight", &weight}, {"weight_scale_inv", &scale}}});
  ASSERT_TRUE(part) << part.error().ToString();
  float values[2];
  DecodeRows(*part->weight, {0, 1}, {0, 2}, values);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], 2);
  EXPECT_EQ(part->act.scale_code, ActivationSpec::kPow2Up);
}

}  // namespace
}  // namespace nibble
