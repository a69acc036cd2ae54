// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/hqq/config.h"

namespace nibble {
namespace {

class HqqCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(HqqCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, HqqCheckpoint,
                         ::testing::Values("hqq-4bit-g64", "hqq-hf-4bit-g64", "hqq-hf-3bit-g64", "hqq-hf-2bit-g64-axis0"));

class HqqGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(HqqGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/hqq/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, HqqGolden, ::testing::Values("hqq-4bit-g64", "hqq-hf-3bit-g64", "hqq-hf-2bit-g64-axis0"));

TEST(HqqWeight, SlicesDecodeLikeTheWhole) {
  const std::string folder = testing::Repo("src/methods/hqq/golden/hqq-hf-2bit-g64-axis0");
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  const StoredWeight whole = *checkpoint.Load("model.layers.0.self_attn.k_proj", 0, 0)->weight;
  const Range n{40, 104}, k{96, 200};
  std::vector<float> all(static_cast<size_t>(whole.n * whole.k)), part(static_cast<size_t>(n.size() * k.size()));
  DecodeRows(whole, {0, whole.n}, {0, whole.k}, all.data());
  const StoredWeight cut = *Slice(whole, n, k);
  DecodeRows(cut, {0, cut.n}, {0, cut.k}, part.data());
  for (int64_t i = 0; i < n.size(); ++i)
    for (int64_t j = 0; j < k.size(); ++j)
      ASSERT_EQ(part[static_cast<size_t>(i * k.size() + j)], all[static_cast<size_t>((n.begin + i) * whole.k + k.begin + j)]);
}

TEST(HqqConfig, SettingsByLayer) {
  const HqqConfig config = *HqqConfig::Parse(*ParseJson(R"({"quant_method":"hqq","skip_modules":["lm_head"],"quant_config":{
      "self_attn.q_proj":{"weight_quant_params":{"nbits":8,"group_size":null,"axis":1}}}})",
                                                        "test"),
                                             "config.json");
  EXPECT_EQ(config.Find("model.layers.0.self_attn.q_proj")->bits, 8);
  EXPECT_EQ(config.Find("model.layers.0.self_attn.q_proj")->group_size, -1);
  EXPECT_EQ(config.Find("model.layers.0.self_attn.k_proj"), nullptr);
  EXPECT_EQ(config.Find("lm_head"), nullptr);
}

TEST(HqqConfig, RefusesWhatItCannotMean) {
  const auto error = [](const std::string& text) { return HqqConfig::Parse(*ParseJson(text, "test"), "c").error(); };
  EXPECT_EQ(error(R"({"quant_config":{"weight_quant_params":{"nbits":9}}})").code, Code::kCorrupt);
  EXPECT_EQ(error(R"({"quant_config":{"weight_quant_params":{"nbits":4,"axis":2}}})").code, Code::kCorrupt);
  EXPECT_EQ(error(R"({"quant_config":{"weight_quant_params":{"nbits":4},"scale_quant_params":{"nbits":8}}})").code,
            Code::kUnsupported);
}

// Axis 0, 4 rows of 6: groups of 3 rows of the regrouped [3, 8] matrix, which begin in the middle of a row; groups of 8 [8, 3] take
// half a row. One byte a code, so that the words are the codes.
TEST(HqqWeight, GroupsThatAreNoDivisorOfTheRows) {
  for (const int64_t group : {3, 8}) {
    SCOPED_TRACE(group);
    const int64_t columns = 24 / group;
    Tensor words(DType::kU8, {group, columns}), scale(DType::kF32, {1, columns}), zero(DType::kF32, {1, columns});
    for (int64_t i = 0; i < 24; ++i) words.as<uint8_t>()[i] = static_cast<uint8_t>(i * 7);
    for (int64_t i = 0; i < columns; ++i)
      scale.as<float>()[i] = 0.5f + static_cast<float>(i), zero.as<float>()[i] = static_cast<float>(i);
    const StoredTensor stored[] = {
        {.name = "W_q", .view = words.view}, {.name = "scale", .view = scale.view}, {.name = "zero", .view = zero.view}};
    const auto config = *FindQuantization("hqq")->from_config(
        *ParseJson(R"({"quant_config":{"weight_quant_params":{"nbits":8,"group_size":8,"axis":0}}})", "test"), {"config.json"});
    const auto method = *config->GetQuantMethod({.kind = LayerKind::kLinear, .name = "gate"});
    const auto part = method->MakeWeight(
        {.name = "gate", .n = 4, .k = 6, .params = {{"W_q", &stored[0]}, {"scale", &stored[1]}, {"zero", &stored[2]}}});
    ASSERT_TRUE(part) << part.error().ToString();
    float got[24];
    DecodeRows(*part->weight, {0, 4}, {0, 6}, got);
    for (int64_t i = 0; i < 24; ++i) {
      EXPECT_EQ(got[i], (static_cast<float>(static_cast<uint8_t>(i * 7)) - static_cast<float>(i % columns)) *
                            (0.5f + static_cast<float>(i % columns)))
          << i;
    }
  }
}

// Bytes with a scale and zero point for each column; both tensors in one, zero points first.
TEST(HqqWeight, QuantizedScalesAreDecoded) {
  Tensor words(DType::kU8, {4, 2}), stacked(DType::kU8, {2, 4, 1}), meta(DType::kF32, {1, 1}), meta_zero(DType::kF32, {1, 1});
  for (int i = 0; i < 8; ++i)
    words.as<uint8_t>()[i] = static_cast<uint8_t>(10 * i), stacked.as<uint8_t>()[i] = static_cast<uint8_t>(i + 1);
  meta.as<float>()[0] = 0.5f;
  meta_zero.as<float>()[0] = 1;
  const StoredTensor stored[] = {
      {.name = "W_q", .view = words.view}, {.view = stacked.view}, {.view = meta.view}, {.view = meta_zero.view}};
  const auto config = *FindQuantization("hqq")->from_config(
      *ParseJson(R"({"quant_config":{"weight_quant_params":{"nbits":8,"group_size":2,"axis":1}}})", "test"), {"config.json"});
  const auto method = *config->GetQuantMethod({.kind = LayerKind::kLinear, .name = "x"});
  BoundParams params{.name = "x", .n = 4, .k = 2, .params = {{"W_q", &stored[0]}, {"zero_scale", &stored[1]}}};
  EXPECT_EQ(method->MakeWeight(params).error().ToString(),
            "corrupt: x.meta_zero.scale is missing, wanted one number, or one for each row or column of [4,1]");
  for (const std::string_view name : {"meta_zero.scale", "meta_scale.scale"}) params.params.emplace_back(name, &stored[2]);
  for (const std::string_view name : {"meta_zero.zero", "meta_scale.zero"}) params.params.emplace_back(name, &stored[3]);
  const auto part = method->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  float got[8];
  DecodeRows(*part->weight, {0, 4}, {0, 2}, got);
  for (int i = 0; i < 8; ++i) {
    const float zero = static_cast<float>(i / 2) * 0.5f, scale = static_cast<float>(i / 2 + 4) * 0.5f;
    EXPECT_EQ(got[i], (static_cast<float>(10 * i) - zero) * scale) << i;
  }
}

TEST(HqqConfig, ModulesOfAPickledFile) {
  HqqConfig config;
  const std::map<std::string, std::string> metadata = {
      {"format", "pt"},
      {"a.q_proj", R"({"_type":"dict","_data":{"nbits":3,"axis":0,"shape":[16,32],"packing":"3bit_32"}})"},
      {"a.weight", R"({"_type":"Int8Tensor","_data":{}})"}};
  ASSERT_TRUE(config.ReadModules(&metadata));
  ASSERT_EQ(config.modules.size(), 1u);
  const HqqSettings& settings = config.modules.at("a.q_proj");
  EXPECT_EQ(settings.bits, 3);
  EXPECT_EQ(settings.axis, 0);
  EXPECT_EQ(settings.n, 16);
  EXPECT_EQ(settings.k, 32);
  const std::map<std::string, std::string> bad = {{"a", R"({"_data":{"nbits":4,"shape":[-1,32]}})"}};
  EXPECT_EQ(config.ReadModules(&bad).error().ToString(), "corrupt: qmodel.pt, \"a\": shape is [-1,32], wanted two numbers");
}

TEST(HqqWeight, ErrorsNameTensorAndSizes) {
  const std::string folder = testing::Repo("src/methods/hqq/golden/hqq-4bit-g64");
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  const std::string text = checkpoint.Load("model.layers.0.self_attn.k_proj", 128, 512).error().ToString();
  EXPECT_NE(text.find("k_proj.shape says [128,256], the model wants [128,512]"), std::string::npos) << text;
}

}  // namespace
}  // namespace nibble
