// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

constexpr const char* kModule = "model.layers.0.self_attn.k_proj";

// Shapes are the model's: the file has none.
void ExpectQuantoWeights(const std::string& folder, const std::string& expected_file) {
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  ASSERT_TRUE(checkpoint.config);
  const auto expected = OpenSafetensors(expected_file);
  ASSERT_TRUE(expected);
  for (const StoredTensor& tensor : expected->tensors.tensors()) {
    const Shape shape = testing::ModuleShape(checkpoint.model, tensor.name);
    const auto part = checkpoint.Load(tensor.name, shape[0], shape[1]);
    ASSERT_TRUE(part) << part.error().ToString();
    EXPECT_TRUE(VerifyValues(*part->weight));
    std::vector<float> found(static_cast<size_t>(tensor.shape.elems()));
    DecodeRows(*part->weight, {0, tensor.shape[0]}, {0, shape[1]}, found.data());
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_EQ(found[i], LoadScalar(tensor.view.dtype, tensor.view.data, static_cast<int64_t>(i))) << tensor.name << " " << i;
  }
}

TEST(QuantoCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, "quanto-qint4");
  ExpectQuantoWeights(folder, folder + "/expected/weights.safetensors");
}

TEST(QuantoGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/quanto/golden/quanto-qint4");
  ExpectQuantoWeights(folder, folder + "/expected.safetensors");
}

Result<std::unique_ptr<QuantizationConfig>> ParseQuanto(const std::string& text) {
  return FindQuantization("quanto")->from_config(*ParseJson(text, "test"), {"quanto_qmap.json"});
}

TEST(QuantoWeight, BytesDecodeInTheDTypeOfTheirScales) {
  const int8_t data[] = {-128, 3, 127, 0, 1, -1};
  const uint16_t scale[] = {0x3c4d, 0x3f81};  // bf16
  StoredTensor bytes, scales;
  bytes.view = TensorView(data, DType::kI8, {2, 3});
  scales.view = TensorView(scale, DType::kBF16, {2, 1});
  BoundParams params{.name = "x", .n = 2, .k = 3};
  params.params = {{"weight._data", &bytes}, {"weight._scale", &scales}};
  const auto config = *ParseQuanto(R"({"x":{"weights":"qint8"}})");
  const auto part = (*config->GetQuantMethod({.name = "x"}))->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  float found[6];
  DecodeRows(*part->weight, {0, 2}, {0, 3}, found);
  for (int i = 0; i < 6; ++i) {
    std::byte rounded[2];
    const float exact = Bf16ToF32(scale[i / 3]) * static_cast<float>(data[i]);
    ConvertFromF32(DType::kBF16, &exact, 1, rounded);
    EXPECT_EQ(found[i], LoadScalar(DType::kBF16, rounded, 0));
  }
}

TEST(QuantoConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseQuanto(R"({"x":{"weights":"qint3"}})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseQuanto(R"({"weights":"int4"})").error().code, Code::kUnsupported);
  EXPECT_EQ(*(*ParseQuanto(R"({"x":{"weights":"qint4"}})"))->GetQuantMethod({.name = "y"}), nullptr);
}

TEST(QuantoConfig, FloatsOfAmdAreNamed) {
  const auto config = FindQuantization("quanto")->from_config(
      *ParseJson(R"({"m":{"weights":"qfloat8_e4m3fnuz","activations":"none"}})", "test"), {"quanto_qmap.json"});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, Code::kUnsupported);
  EXPECT_NE(config.error().message.find("quantize with qfloat8_e4m3fn instead"), std::string::npos);
}

TEST(QuantoWeight, ErrorsNameTensorAndSizes) {
  const std::string folder = testing::Repo("src/methods/quanto/golden/quanto-qint4");
  const std::string text = testing::TestCheckpoint::Open(folder).Load(kModule, 128, 512).error().ToString();
  EXPECT_NE(text.find("k_proj.weight._data._data is [128,128] with 256 scales"), std::string::npos) << text;
}

}  // namespace
}  // namespace nibble
