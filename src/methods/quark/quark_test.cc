// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "io/tensor_index.h"
#include "methods/checkpoint_test.h"
#include "methods/quark/weights.h"

namespace nibble {
namespace {

class QuarkCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(QuarkCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, QuarkCheckpoint,
                         ::testing::Values("quark-fp8-kv-fp8", "quark-int4-fp8", "quark-int4-wo-128", "quark-int8-smoothquant",
                                           "quark-mixed-mxfp4-fp8-layers", "quark-mxfp4", "quark-mxfp6-e3m2", "quark-nvfp4",
                                           "quark-uint4-wo-128-awq"));

class QuarkGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(QuarkGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/quark/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, QuarkGolden,
                         ::testing::Values("quark-fp8-kv-fp8", "quark-int4-fp8", "quark-int4-wo-128", "quark-int8-smoothquant",
                                           "quark-mxfp4", "quark-mxfp6-e3m2", "quark-nvfp4", "quark-uint4-wo-128-awq"));

TEST(Quark, OutputsOfKeysAreQuantized) {
  const auto checkpoint = testing::TestCheckpoint::Open(testing::Repo("src/methods/quark/golden/quark-fp8-kv-fp8"));
  const auto part = checkpoint.Load("model.layers.0.self_attn.k_proj", 128, 256);
  ASSERT_TRUE(part) << part.error().ToString();
  EXPECT_EQ(part->out_act.code, DType::kE4M3);
  EXPECT_FALSE(part->out_act.dynamic);
  EXPECT_GT(part->out_act.scale, 0);
  EXPECT_EQ(part->act.grain, ActivationSpec::kTensor);
}

Result<std::unique_ptr<QuantizationConfig>> ParseQuark(const std::string& text) {
  return FindQuantization("quark")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

// uint8 by groups: [k,n] bytes, zero points [G,n].
TEST(Quark, WideIntegersByGroupsAreTurned) {
  const uint8_t codes[8] = {1, 2, 3, 4, 5, 6, 7, 8}, zeros[4] = {1, 2, 3, 4};
  const float scales[4] = {1, 10, 100, 1000};
  StoredTensor weight{.view = TensorView(codes, DType::kU8, {4, 2})}, scale{.view = TensorView(scales, DType::kF32, {2, 2})},
      zero{.view = TensorView(zeros, DType::kU8, {2, 2})};
  const BoundParams params{
      .name = "x", .n = 2, .k = 4, .params = {{"weight", &weight}, {"weight_scale", &scale}, {"weight_zero_point", &zero}}};
  QuarkSpec spec{
      .scheme = QuarkSpec::kPerGroup, .element = DType::kI8, .bits = 8, .is_signed = false, .symmetric = false, .group = 2};
  const auto made = MakeQuarkWeight(params, {spec}, true);
  ASSERT_TRUE(made) << made.error().ToString();
  float values[8];
  DecodeRows(*made, {0, 2}, {0, 4}, values);
  // Row 0 has codes 1 3 5 7, scales 1 1 100 100, zeros 1 1 3 3; scales [G,n] and [n,G] look alike here, the turned one is meant.
  const float wanted[8] = {0, 2, 200, 400, 0, 20, 2000, 4000};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(values[i], wanted[i]) << i;
}

// pack_method "order": nibbles of a word are neighbouring rows of W in their own order, of zero points too.
TEST(Quark, PlainOrderOfNibblesRunsAlongTheRows) {
  const uint32_t words[2] = {0x76543210, 0x01234567}, ones[1] = {0x21111111};
  const float scales[8] = {1, 1, 1, 1, 1, 1, 1, 10};
  StoredTensor weight{.view = TensorView(words, DType::kI32, {2, 1})}, scale{.view = TensorView(scales, DType::kF32, {1, 8})},
      zero{.view = TensorView(ones, DType::kI32, {1, 1})};
  const BoundParams params{
      .name = "x", .n = 8, .k = 2, .params = {{"weight", &weight}, {"weight_scale", &scale}, {"weight_zero_point", &zero}}};
  const QuarkSpec spec{
      .scheme = QuarkSpec::kPerGroup, .element = DType::kI8, .bits = 4, .is_signed = false, .symmetric = false, .group = 2};
  const auto made = MakeQuarkWeight(params, {spec}, false);
  ASSERT_TRUE(made) << made.error().ToString();
  float values[16];
  DecodeRows(*made, {0, 8}, {0, 2}, values);
  const float wanted[16] = {-1, 6, 0, 5, 1, 4, 2, 3, 3, 2, 4, 1, 5, 0, 50, -20};
  for (int i = 0; i < 16; ++i) EXPECT_EQ(values[i], wanted[i]) << i;
}

TEST(QuarkConfig, PatternsBeforeTypesBeforeGlobal) {
  const auto config = *ParseQuark(R"({"global_quant_config":{"weight":{"dtype":"fp4","qscheme":"per_group","group_size":32}},
    "layer_type_quant_config":{"Linear":{"weight":{"dtype":"int8","qscheme":"per_channel"}}},
    "layer_quant_config":{"*layers.1.[qk]_proj":{"weight":{"dtype":"fp8_e4m3"}},"*.v_proj":{"weight":null}},
    "exclude":["lm_head","re:.*gate$"]})");
  EXPECT_EQ(config->EstimateBits({.name = "layers.1.q_proj"}), 8);
  EXPECT_EQ(config->EstimateBits({.name = "layers.0.v_proj"}), 0);
  EXPECT_EQ(config->EstimateBits({.name = "layers.0.up_proj"}), 8);
  EXPECT_EQ(config->EstimateBits({.name = "layers.0.gate"}), 0);
  EXPECT_EQ(config->EstimateBits({.kind = LayerKind::kLmHead, .name = "lm_head"}), 0);
}

TEST(QuarkConfig, RefusesWhatItCannotMean) {
  const auto with_weight = [](const std::string& spec) { return ParseQuark(R"({"global_quant_config":{"weight":)" + spec + "}}"); };
  EXPECT_EQ(with_weight(R"({"dtype":"mx9"})").error().code, Code::kUnsupported);
  EXPECT_EQ(with_weight(R"({"dtype":"int8","qscheme":"per_mood"})").error().code, Code::kUnsupported);
  EXPECT_EQ(with_weight(R"({"dtype":"fp4","qscheme":"per_group"})").error().code, Code::kCorrupt);
  EXPECT_EQ(with_weight(R"({"dtype":"fp8_e4m3","qscheme":"per_block","block_size":[0,128]})").error().code, Code::kCorrupt);
  EXPECT_EQ(with_weight("3").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseQuark(R"({"export":{"weight_format":"fake_quantized"}})").error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace nibble
