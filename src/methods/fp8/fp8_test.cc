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

Result<std::unique_ptr<QuantizationConfig>> ParseFp8(const std::string& text) {
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
  EXPECT_EQ(ParseFp8(R"({"activation_scheme":"static","weight_block_size":[128,128]})").error().ToString(),
            "corrupt: config.json: activation_scheme static contradicts weight_block_size: block scales need dynamic activations");
  EXPECT_EQ(ParseFp8(R"({"activation_scheme":"sometimes"})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseFp8(R"({"weight_block_size":[128]})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseFp8(R"({"weight_block_size":[0,128]})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseFp8(R"({"store_dtype":"int4"})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseFp8(R"({"weight_scale_semantics":"sideways"})").error().code, Code::kUnsupported);
}

TEST(Fp8Config, ExceptionsAreExactNames) {
  const auto config = *ParseFp8(R"({"activation_scheme":"dynamic","ignored_layers":["a.gate"],"modules_to_not_convert":null})");
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
  const auto config = *ParseFp8(R"({"activation_scheme":"dynamic","weight_block_size":[128,128],"scale_fmt":"ue8m0"})");
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

// Experts one by one, their scales all together; up's rows begin inside a block of gate's.
TEST(Fp8Experts, ScalesOfAllExpertsTogether) {
  uint8_t codes[6] = {0x38, 0x38, 0x38, 0x38, 0x38, 0x38};  // ones, [3,2]
  const float fused[2][3][1] = {{{1}, {2}, {3}}, {{4}, {5}, {6}}}, down[2][1][2] = {{{1, 2}}, {{3, 4}}}, input[2] = {0.25f, 0.5f};
  std::vector<StoredTensor> stored(3);
  stored[0].name = "m.experts.gate_up_proj_scale_inv";
  stored[0].view = TensorView(&fused[0][0][0], DType::kF32, {2, 3, 1});
  stored[1].name = "m.experts.down_proj_scale_inv";
  stored[1].view = TensorView(&down[0][0][0], DType::kF32, {2, 1, 2});
  stored[2].name = "m.experts.gate_up_proj_activation_scale";
  stored[2].view = TensorView(input, DType::kF32, {2});
  const TensorIndex index = *TensorIndex::Make(std::move(stored));
  const auto parse = [&](const char* text) {
    return *FindQuantization("fp8")->from_config(*ParseJson(text, "test"), {.where = "config.json", .tensors = &index});
  };
  const auto config = parse(R"({"activation_scheme":"dynamic","weight_block_size":[2,2]})");
  const auto decode = [&](const QuantizationConfig& settings, const std::string& name, Shape shape) {
    const auto method = *settings.GetQuantMethod(
        {.kind = LayerKind::kExpert, .name = name, .has = [](std::string_view suffix) { return suffix == "weight"; }});
    std::vector<float> found;
    EXPECT_TRUE(method) << name;
    if (!method) return found;
    StoredTensor weight{.view = TensorView(codes, DType::kE4M3, shape)};
    const auto part = method->MakeWeight({.name = name, .n = shape[0], .k = shape[1], .params = {{"weight", &weight}}});
    EXPECT_TRUE(part) << part.error().ToString();
    if (!part) return found;
    found.resize(6);
    DecodeRows(*part->weight, {0, shape[0]}, {0, shape[1]}, found.data());
    return found;
  };
  EXPECT_EQ(decode(*config, "m.experts.1.gate_proj", {3, 2}), (std::vector<float>{4, 4, 4, 4, 5, 5}));
  EXPECT_EQ(decode(*config, "m.experts.1.w3", {3, 2}), (std::vector<float>{5, 5, 6, 6, 6, 6}));
  EXPECT_EQ(decode(*config, "m.experts.0.down_proj", {2, 3}), (std::vector<float>{1, 1, 2, 1, 1, 2}));
  EXPECT_FALSE(*config->GetQuantMethod({.name = "m.gate", .has = [](std::string_view suffix) { return suffix == "weight"; }}));
  const auto fixed = parse(R"({"activation_scheme":"static"})");
  const auto method = *fixed->GetQuantMethod({.name = "m.experts.1.w1", .has = [](std::string_view s) { return s == "weight"; }});
  StoredTensor weight{.view = TensorView(codes, DType::kE4M3, {3, 2})};
  EXPECT_EQ(method->MakeWeight({.name = "m.experts.1.w1", .n = 3, .k = 2, .params = {{"weight", &weight}}})->act.scale, 0.5f);
  weight.view = TensorView(codes, DType::kE4M3, {6, 1});  // more rows than there are scales for
  const auto blocks = *config->GetQuantMethod({.name = "m.experts.1.w3", .has = [](std::string_view s) { return s == "weight"; }});
  EXPECT_EQ(blocks->MakeWeight({.name = "m.experts.1.w3", .n = 6, .k = 1, .params = {{"weight", &weight}}}).error().code,
            Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
