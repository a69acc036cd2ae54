// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/packing/marlin.h"
#include "methods/checkpoint_test.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

TEST(QqqCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, "gptqmodel-qqq-g128");
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}

TEST(QqqGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/qqq/golden/gptqmodel-qqq-g128");
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}

Result<std::unique_ptr<QuantizationConfig>> ParseQqq(const std::string& text) {
  return FindQuantization("qqq")->from_config(*ParseJson(text, "test"), {"config.json"});
}

// Per channel: a two's complement nibble times 16 times the stored scale.
TEST(QqqWeight, PerChannelCodesAreSigned) {
  constexpr int64_t kN = 64, kK = 32;
  std::vector<uint8_t> codes(static_cast<size_t>(kN * kK));
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>((i * 7 + i / 32) % 16);
  std::vector<uint32_t> words(static_cast<size_t>(kK / 16 * kN * 2));
  EncodeMarlinTiles(codes.data(), kN, kK, 4, words.data(), MarlinOrder::kQqqChannel);
  std::vector<float> scales(kN);
  for (int64_t i = 0; i < kN; ++i) scales[static_cast<size_t>(i)] = static_cast<float>(MarlinScaleColumn(i, false) + 1) / 16;
  StoredTensor tiles, channel;
  tiles.view = TensorView(words.data(), DType::kI32, {kK / 16, kN * 2});
  channel.view = TensorView(scales.data(), DType::kF32, {1, kN});
  BoundParams params{.name = "x", .n = kN, .k = kK};
  params.params = {{"B", &tiles}, {"s_channel", &channel}};
  const auto config = *ParseQqq(R"({"bits":4,"group_size":-1})");
  const auto part = (*config->GetQuantMethod({.name = "x"}))->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  std::vector<float> found(static_cast<size_t>(kN * kK));
  DecodeRows(*part->weight, {0, kN}, {0, kK}, found.data());
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t k = 0; k < kK; ++k) {
      const int code = codes[static_cast<size_t>(n * kK + k)];
      ASSERT_EQ(found[static_cast<size_t>(n * kK + k)], static_cast<float>((code < 8 ? code : code - 16) * (n + 1)));
    }
}

TEST(QqqConfig, RefusesWhatItCannotMean) {
  EXPECT_EQ(ParseQqq(R"({"bits":8})").error().ToString(), "corrupt: config.json: bits is 8, wanted 4");
  EXPECT_EQ(ParseQqq(R"({"wbits":4,"group_size":0})").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
