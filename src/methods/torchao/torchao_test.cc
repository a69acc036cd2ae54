// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/torchao/config.h"

namespace nibble {
namespace {

class TorchaoCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(TorchaoCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, TorchaoCheckpoint,
                         ::testing::Values("torchao-float8-dyn-act-per-row", "torchao-int4-weight-only-g32",
                                           "torchao-int8-dyn-act-int4-weight-g32", "torchao-int8-dyn-act-int8-weight",
                                           "torchao-int8-weight-only", "torchao-int8-weight-only-bin",
                                           "torchao-intx-int3-weight-only-g64-asym", "torchao-mxfp8", "torchao-nvfp4-dyn-act"));

class TorchaoGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(TorchaoGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/torchao/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, TorchaoGolden,
                         ::testing::Values("torchao-int4-weight-only-g32", "torchao-intx-int3-weight-only-g64-asym",
                                           "torchao-mxfp8", "torchao-nvfp4-dyn-act"));

ActivationSpec ActOf(const std::string& data) {
  const auto tensor = TorchaoTensor::Parse(R"({"_type":"Int8Tensor","_data":{)" + data + "}}", "test");
  EXPECT_TRUE(tensor) << tensor.error().ToString();
  return tensor ? tensor->act : ActivationSpec();
}

TEST(TorchaoTensors, ActivationsFollowTheTensor) {
  EXPECT_EQ(ActOf(R"("act_quant_kwargs":null)"), ActivationSpec());
  const ActivationSpec rows{.grain = ActivationSpec::kToken, .code = DType::kI8, .rule = ActivationSpec::kQuark};
  EXPECT_EQ(ActOf(R"("act_quant_kwargs":{"_type":"QuantizeTensorToInt8Kwargs","_data":{"granularity":{"_type":"PerRow","_data":
    {"dim":-1}},"mapping_type":{"_type":"MappingType","_data":"SYMMETRIC"},"reduce_range":false}})"),
            rows);
  // The pickled spelling: enumerations by value.
  ActivationSpec narrow = rows;
  narrow.symmetric = false;
  narrow.bits = 7;
  EXPECT_EQ(ActOf(R"("act_quant_kwargs":{"_type":"QuantizeTensorToInt8Kwargs","_data":{"granularity":{"_type":"PerRow","_data":
    {"dim":-1}},"mapping_type":{"_type":"MappingType","_data":3},"reduce_range":true}})"),
            narrow);
  const ActivationSpec mx = ActOf(R"("act_quant_kwargs":{"_type":"QuantizeTensorToMXKwargs","_data":{"elem_dtype":{"_type":
    "torch.dtype","_data":"float4_e2m1fn_x2"},"block_size":32,"scaling_mode":{"_type":"ScaleCalculationMode","_data":"rceil"}}})");
  EXPECT_EQ(mx.code, DType::kE2M1);
  EXPECT_EQ(mx.scale_code, ActivationSpec::kPow2Up);
  EXPECT_EQ(mx.group, 32);
}

TEST(TorchaoTensors, RefuseWhatTheyCannotMean) {
  for (const char* text :
       {R"([])", R"({"_type":"Int8Tensor","_data":{"block_size":[1]}})", R"({"_type":"Int8Tensor","_data":{"block_size":[0,32]}})",
        R"({"_type":"MXTensor","_data":{"block_size":-1}})"})
    EXPECT_EQ(TorchaoTensor::Parse(text, "test").error().code, Code::kCorrupt) << text;
  for (const char* text : {R"({"_type":"MXTensor","_data":{"elem_dtype":{"_type":"torch.dtype","_data":"float3"}}})",
                           R"({"_type":"Int8Tensor","_data":{"act_quant_kwargs":{"_type":"Magic","_data":{}}}})",
                           R"({"_type":"X","_data":{"target_dtype":{"_type":"torch.dtype","_data":"int9"}}})"})
    EXPECT_EQ(TorchaoTensor::Parse(text, "test").error().code, Code::kUnsupported) << text;
}

TEST(TorchaoConfig, RecipesByModule) {
  const auto parse = [](const std::string& text) { return TorchaoConfig::Parse(*ParseJson(text, "test"), "config.json"); };
  const auto config = parse(R"({"quant_type":{"default":{"_type":"FqnToConfig","_version":1,"_data":{"fqn_to_config":{
    "_default":{"_type":"Int8WeightOnlyConfig","_data":{}},
    "model.layers.0.mlp.up_proj":null,
    "re:.*down_proj":{"_type":"Int4WeightOnlyConfig","_data":{"group_size":32}}}}}},"modules_to_not_convert":["q_proj"]})");
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->Bits("model.layers.0.mlp.up_proj"), 0);
  EXPECT_EQ(config->Bits("model.layers.1.mlp.up_proj"), 8);
  EXPECT_EQ(config->Bits("model.layers.1.mlp.down_proj"), 5);
  EXPECT_EQ(config->Bits("model.layers.1.self_attn.q_proj"), 0);
  EXPECT_EQ(parse(R"({"quant_type":"int4_weight_only","quant_type_kwargs":{"group_size":128}})")->Bits("m"), 4.25);
  EXPECT_EQ(parse("{}").error().code, Code::kCorrupt);
}

TEST(TorchaoMethod, WantsTheMetadata) {
  const Json json = *ParseJson(R"({"quant_type":"int8_weight_only"})", "test");
  const auto config = *FindQuantization("torchao")->from_config(json, {"config.json"});
  const auto method = config->GetQuantMethod({.name = "m", .has = [](std::string_view s) { return s == "_weight_qdata"; }});
  ASSERT_FALSE(method);
  EXPECT_EQ(method.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
