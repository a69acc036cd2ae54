// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

TEST(BitNetCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, "hf-bitnet");
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}

TEST(BitNetGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/bitnet/golden/hf-bitnet");
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}

Result<std::unique_ptr<QuantizationConfig>> ParseBitnet(const std::string& text) {
  return FindQuantization("bitnet")->from_config(*ParseJson(text, "test"), {"config.json"});
}

// weight_scale 21.625 divides in one class and multiplies in the other.
TEST(BitNetWeight, TheClassTellsWhereTheScaleGoes) {
  const std::string folder = testing::Repo("src/methods/bitnet/golden/hf-bitnet"), name = "model.layers.0.self_attn.k_proj";
  testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  const auto first_weight = [&] {
    const LinearPart part = *checkpoint.Load(name, 0, 0);
    EXPECT_EQ(part.act.grain, ActivationSpec::kToken);
    std::vector<float> row(static_cast<size_t>(part.weight->k));
    DecodeRows(*part.weight, {0, 1}, {0, part.weight->k}, row.data());
    return *std::max_element(row.begin(), row.end());
  };
  const float divided = first_weight();
  checkpoint.config = *ParseBitnet(R"({"linear_class":"autobitlinear"})");
  EXPECT_FLOAT_EQ(first_weight() * divided, 1);
}

TEST(BitNetConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseBitnet(R"({"linear_class":"best"})").error().code, Code::kUnsupported);
  EXPECT_EQ(ParseBitnet(R"({"linear_class":"bitlinear","quantization_mode":"online"})").error().code, Code::kCorrupt);
  const auto config = *ParseBitnet(R"({})");
  EXPECT_EQ(*config->GetQuantMethod({.kind = LayerKind::kLmHead, .name = "lm_head"}), nullptr);
  EXPECT_NE(*config->GetQuantMethod({.name = "model.layers.0.mlp.up_proj"}), nullptr);
}

}  // namespace
}  // namespace nibble
