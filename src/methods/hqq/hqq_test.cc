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

TEST(HqqWeight, ErrorsNameTensorAndSizes) {
  const std::string folder = testing::Repo("src/methods/hqq/golden/hqq-4bit-g64");
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  const std::string text = checkpoint.Load("model.layers.0.self_attn.k_proj", 128, 512).error().ToString();
  EXPECT_NE(text.find("k_proj.shape says [128,256], the model wants [128,512]"), std::string::npos) << text;
}

}  // namespace
}  // namespace nibble
