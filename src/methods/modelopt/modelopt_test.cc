// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "io/tensor_index.h"
#include "methods/checkpoint_test.h"
#include "methods/modelopt/config.h"

namespace nibble {
namespace {

class ModelOptCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(ModelOptCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, ModelOptCheckpoint,
                         ::testing::Values("modelopt-auto-nvfp4-fp8", "modelopt-fp8-kv-fp8", "modelopt-fp8-pc-pt",
                                           "modelopt-int4-awq", "modelopt-int8-sq", "modelopt-nvfp4-awq-full",
                                           "modelopt-nvfp4-kv-nvfp4-affine", "modelopt-nvfp4-svdquant", "modelopt-w4a8-awq",
                                           "modelopt-w4a8-nvfp4-fp8"));

class ModelOptGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(ModelOptGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/modelopt/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, ModelOptGolden,
                         ::testing::Values("modelopt-int4-awq", "modelopt-int8-sq", "modelopt-nvfp4-awq-full",
                                           "modelopt-nvfp4-svdquant", "modelopt-w4a8-awq", "modelopt-w4a8-nvfp4-fp8"));

LinearPart GoldenPart(const std::string& name) {
  const auto checkpoint = testing::TestCheckpoint::Open(testing::Repo("src/methods/modelopt/golden/" + name));
  return *checkpoint.Load("model.layers.0.self_attn.k_proj", 128, 256);
}

TEST(ModelOpt, SmoothingAndLowRankComeWithTheWeight) {
  const LinearPart part = GoldenPart("modelopt-nvfp4-svdquant");
  ASSERT_EQ(part.weight->in.size(), 1u);
  EXPECT_EQ(part.weight->in[0].kind, Transform::kScale);
  EXPECT_EQ(part.weight->lora_a.shape.ToString(), "[32,256]");
  EXPECT_EQ(part.weight->lora_b.shape.ToString(), "[128,32]");
  EXPECT_EQ(Describe(*part.weight), "e2m1 g16 two-level scaled +rank32");
  EXPECT_EQ(part.act.code, DType::kE2M1);
  EXPECT_EQ(part.act.scale_code, ActivationSpec::kE4M3);
  EXPECT_GT(part.act.global, 0);
}

TEST(ModelOpt, RoundedWeightsSurviveSlices) {
  const LinearPart part = GoldenPart("modelopt-w4a8-awq");
  const auto slice = Slice(*part.weight, {5, 61}, {100, 250});
  ASSERT_TRUE(slice) << slice.error().ToString();
  std::vector<float> whole(128 * 256), cut(56 * 150);
  DecodeRows(*part.weight, {0, 128}, {0, 256}, whole.data());
  DecodeRows(*slice, {0, 56}, {0, 150}, cut.data());
  for (size_t i = 0; i < 56; ++i)
    for (size_t j = 0; j < 150; ++j) ASSERT_EQ(cut[i * 150 + j], whole[(i + 5) * 256 + j + 100]) << i << " " << j;
  EXPECT_FALSE(part.act.dynamic);
  EXPECT_EQ(part.act.code, DType::kE4M3);
}

Result<std::unique_ptr<QuantizationConfig>> ParseModelopt(const std::string& text) {
  return FindQuantization("modelopt")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

TEST(ModelOptConfig, LayersAndWildcards) {
  const auto mixed = *ParseModelopt(R"({"quantization":{"quant_algo":"MIXED_PRECISION","quantized_layers":{
    "layers.0.ffn.experts":{"quant_algo":"NVFP4","group_size":16},"layers.0.q":{"quant_algo":"fp8"}}}})");
  EXPECT_EQ(mixed->EstimateBits({.kind = LayerKind::kExpert, .name = "layers.0.ffn.experts.3.w1"}), 4.5);
  EXPECT_EQ(mixed->EstimateBits({.name = "layers.0.q"}), 8);
  EXPECT_EQ(mixed->EstimateBits({.name = "layers.0.k"}), 0);
  const auto plain = *ParseModelopt(R"({"quant_algo":"nvfp4","ignore":["lm_head","model.layers.1.*"]})");
  EXPECT_EQ(plain->EstimateBits({.kind = LayerKind::kLmHead, .name = "lm_head"}), 0);
  EXPECT_EQ(plain->EstimateBits({.name = "model.layers.1.mlp.up_proj"}), 0);
  EXPECT_EQ(plain->EstimateBits({.name = "model.layers.10.mlp.up_proj"}), 4.5);
}

TEST(ModelOptConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseModelopt("{}").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseModelopt(R"({"quant_algo":"MIXED_PRECISION"})").error().code, Code::kCorrupt);
  const std::string text = ParseModelopt(R"({"quant_algo":"NVFP5"})").error().ToString();
  EXPECT_NE(text.find("nvfp4"), std::string::npos) << text;
  const auto config = *ParseModelopt(R"({"quant_algo":"FP8","ignore":["a"]})");
  const auto has = [](std::string_view) { return true; };
  EXPECT_TRUE(*config->GetQuantMethod({.name = "a", .has = has}));  // the tensors are believed
  const auto mixed = *ParseModelopt(R"({"quant_algo":"MIXED_PRECISION","quantized_layers":{"b":{"quant_algo":"FP8"}}})");
  EXPECT_EQ(mixed->GetQuantMethod({.name = "a", .has = has}).error().code, Code::kCorrupt);
}

// FP8_PB_WO: four dimensions, two of them 1; the last row of blocks is not full.
TEST(ModelOpt, BlockScalesHaveFourDimensions) {
  const int64_t n = 130, k = 256;
  const std::vector<uint8_t> codes(static_cast<size_t>(n * k), 0x38);  // 1.0
  const float scales[4] = {1, 2, 3, 4};
  StoredTensor weight{.view = TensorView(codes.data(), DType::kE4M3, {n, k})},
      scale{.view = TensorView(scales, DType::kF32, {2, 1, 2, 1})};
  const auto config = *ParseModelopt(R"({"quant_algo":"fp8_pb_wo"})");
  const auto part = (*config->GetQuantMethod({.name = "a"}))
                        ->MakeWeight({.name = "a", .n = n, .k = k, .params = {{"weight", &weight}, {"weight_scale", &scale}}});
  ASSERT_TRUE(part) << part.error().ToString();
  float value = 0;
  DecodeRows(*part->weight, {129, 130}, {127, 128}, &value);
  EXPECT_EQ(value, 3);
  DecodeRows(*part->weight, {127, 128}, {128, 129}, &value);
  EXPECT_EQ(value, 2);
  EXPECT_EQ(part->act.grain, ActivationSpec::kNone);
}

// 2 x 64 codes of e2m1 in groups of 32 with the given scales; what the layer demands of x.
ActivationSpec SmallBlocks(const std::string& config, DType scale_type, const float* input_scale, const float* global) {
  const std::vector<uint8_t> codes(64, 0x22), scales(4, 0x38);
  StoredTensor weight{.view = TensorView(codes.data(), DType::kU8, {2, 32})},
      scale{.view = TensorView(scales.data(), scale_type, {2, 2})}, input{.view = TensorView(input_scale, DType::kF32, {})},
      second{.view = TensorView(global, DType::kF32, {})};
  BoundParams params{.name = "a", .n = 2, .k = 64, .params = {{"weight", &weight}, {"weight_scale", &scale}}};
  if (input_scale) params.params.emplace_back("input_scale", &input);
  if (global) params.params.emplace_back("weight_scale_2", &second);
  const auto part = (*(*ParseModelopt(config))->GetQuantMethod({.name = "a"}))->MakeWeight(params);
  EXPECT_TRUE(part) << part.error().ToString();
  return part ? part->act : ActivationSpec{};
}

TEST(ModelOpt, ActivationsWithoutACalibratedScaleAreDynamic) {
  const float input_scale = 0.5f;
  const ActivationSpec dynamic = SmallBlocks(R"({"quant_algo":"W4A8_MXFP4_FP8"})", DType::kU8, nullptr, nullptr);
  EXPECT_EQ(dynamic.grain, ActivationSpec::kTensor);
  EXPECT_TRUE(dynamic.dynamic);
  EXPECT_EQ(dynamic.code, DType::kE4M3);
  const ActivationSpec fixed = SmallBlocks(R"({"quant_algo":"W4A8_MXFP4_FP8"})", DType::kU8, &input_scale, nullptr);
  EXPECT_FALSE(fixed.dynamic);
  EXPECT_EQ(fixed.scale, input_scale);
}

TEST(ModelOpt, GroupsOfActivationsAreThoseOfTheWeight) {
  const float one = 1;
  EXPECT_EQ(SmallBlocks(R"({"quant_algo":"NVFP4"})", DType::kE4M3, &one, &one).group, 32);
  EXPECT_EQ(SmallBlocks(R"({"quant_algo":"mxfp4"})", DType::kU8, nullptr, nullptr).group, 32);
}

// The preset for weights alone differs from MXFP4_DEFAULT in the list of exceptions only.
TEST(ModelOpt, Mxfp4WithoutAttentionIsForWeightsAlone) {
  const std::string config = R"({"quant_algo":"mxfp4","ignore":["lm_head","model.layers.0.self_attn*"]})";
  EXPECT_EQ(SmallBlocks(config, DType::kU8, nullptr, nullptr).grain, ActivationSpec::kNone);
  EXPECT_EQ(SmallBlocks(R"({"quant_algo":"mxfp4","ignore":["lm_head"]})", DType::kU8, nullptr, nullptr).grain,
            ActivationSpec::kGroup);
}

}  // namespace
}  // namespace nibble
