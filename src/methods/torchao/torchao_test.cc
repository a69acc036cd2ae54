// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/packing/tinygemm.h"
#include "methods/checkpoint_test.h"
#include "methods/torchao/config.h"
#include "methods/torchao/tensors.h"

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
  EXPECT_EQ(mx.rule, ActivationSpec::kTorchao);  // EVEN rounds amax to the mantissa of the code, e4m3's three bits too
  EXPECT_EQ(ActOf(R"("act_quant_kwargs":{"_type":"QuantizeTensorToFloat8Kwargs","_data":{"float8_dtype":{"_type":"torch.dtype",
    "_data":"float8_e5m2"}}})")
                .code,
            DType::kE5M2);
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

// The tiles are those of a matrix padded to [8, 1024]; `shape` tells the extent where nobody else does.
TEST(TorchaoTensors, Int4TilesOfAPaddedMatrix) {
  const int64_t n = 5, k = 40, rows = 8, columns = 1024, group = 32, groups = columns / group;
  std::vector<uint8_t> codes(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * 7 / 3 % 16);
  std::vector<uint32_t> words(codes.size() / 8);
  EncodeTinygemmTiles(codes.data(), rows, columns, 8, words.data());
  std::vector<float> both;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t row = 0; row < rows; ++row)
      both.insert(both.end(), {0.5f * static_cast<float>(row + 1), static_cast<float>(g - 3)});
  StoredTensor qdata{.view = TensorView(words.data(), DType::kI32, {1, 8, 32, 4})},
      scales{.view = TensorView(both.data(), DType::kF32, {groups, rows, 2})};
  const auto tensor = *TorchaoTensor::Parse(
      R"({"_type":"Int4TilePackedTo4dTensor","_data":{"block_size":[1,32],"shape":[5,40]},"_tensor_data_names":["qdata"]})",
      "test");
  BoundParams params{.name = "m", .params = {{"_weight_qdata", &qdata}, {"_weight_scale_and_zero", &scales}}};
  const auto part = MakeTorchaoWeight(params, tensor);
  ASSERT_TRUE(part) << part.error().ToString();
  EXPECT_EQ(part->weight->n, n);
  EXPECT_EQ(part->weight->k, k);
  std::vector<float> found(static_cast<size_t>(n * k));
  DecodeRows(*part->weight, {0, n}, {0, k}, found.data());
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column < k; ++column)
      ASSERT_EQ(found[static_cast<size_t>(row * k + column)],
                static_cast<float>(codes[static_cast<size_t>(row * columns + column)] - 8) * 0.5f * static_cast<float>(row + 1) +
                    static_cast<float>(column / group - 3));
  params.k = 2000;  // wider than the tiles
  EXPECT_EQ(MakeTorchaoWeight(params, tensor).error().code, Code::kCorrupt);
  params.k = k;
  scales.view = TensorView(both.data(), DType::kF32, {groups, 4, 4});
  EXPECT_EQ(MakeTorchaoWeight(params, tensor).error().code, Code::kCorrupt);
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
