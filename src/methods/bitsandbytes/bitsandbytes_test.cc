// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/bitsandbytes/config.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

class BnbCheckpoint : public ::testing::TestWithParam<const char*> {};
TEST_P(BnbCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, BnbCheckpoint,
                         ::testing::Values("bnb-nf4", "bnb-fp4", "bnb-int8", "bnb-nf4-double-quant",
                                           "bnb-nf4-double-quant-storage-f32"));

class BnbGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(BnbGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/bitsandbytes/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, BnbGolden, ::testing::Values("bnb-fp4", "bnb-int8", "bnb-nf4-double-quant-storage-f32"));

Result<std::unique_ptr<QuantizationConfig>> ParseBitsandbytes(const std::string& text) {
  return FindQuantization("bitsandbytes")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

// A 4-bit module [3,5] made here: blocks of 4 straddle the rows, rows begin inside bytes.
struct BnbModule {
  std::vector<uint8_t> bytes = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xe0};
  std::vector<float> absmax = {1, 2, 3, 4}, map = std::vector<float>(16);
  std::string state = R"({"quant_type":"nf4","blocksize":4,"dtype":"float16","shape":[3,5]})";
  std::vector<StoredTensor> tensors;

  Result<LinearPart> Load(int64_t n, int64_t k) {
    for (size_t i = 0; i < 16; ++i) map[i] = static_cast<float>(i) - 8;
    const auto add = [&](const char* name, const void* data, DType dtype, Shape shape) {
      StoredTensor& tensor = tensors.emplace_back();
      tensor.name = name;
      tensor.shape = shape;
      tensor.view = TensorView(data, dtype, shape);
    };
    tensors.reserve(4);
    add("weight", bytes.data(), DType::kU8, {static_cast<int64_t>(bytes.size()), 1});
    add("weight.absmax", absmax.data(), DType::kF32, {static_cast<int64_t>(absmax.size())});
    add("weight.quant_map", map.data(), DType::kF32, {16});
    add("weight.quant_state.bitsandbytes__nf4", state.data(), DType::kU8, {static_cast<int64_t>(state.size())});
    const auto config = ParseBitsandbytes(R"({"load_in_4bit":true})").value();
    const LayerQuery query{.name = "m", .has = [&](std::string_view suffix) { return suffix == "weight.absmax"; }};
    const auto method = config->GetQuantMethod(query).value();
    BoundParams params{.name = "m", .n = n, .k = k};
    for (const StoredTensor& tensor : tensors) params.params.emplace_back(tensor.name, &tensor);
    return method->MakeWeight(params);
  }
};

TEST(Bnb, BlocksAndBytesStraddleRows) {
  BnbModule module;
  const auto part = module.Load(0, 0);
  ASSERT_TRUE(part) << part.error().ToString();
  ASSERT_EQ(part->weight->n, 3);
  ASSERT_EQ(part->weight->k, 5);
  std::vector<float> found(15), cut(4);
  DecodeRows(*part->weight, {0, 3}, {0, 5}, found.data());
  for (int i = 0; i < 15; ++i) EXPECT_EQ(found[static_cast<size_t>(i)], static_cast<float>((i - 8) * (i / 4 + 1))) << i;
  const auto slice = Slice(*part->weight, {1, 3}, {3, 5});
  ASSERT_TRUE(slice);
  DecodeRows(*slice, {0, 2}, {0, 2}, cut.data());
  EXPECT_EQ(cut, (std::vector<float>{found[8], found[9], found[13], found[14]}));
}

TEST(Bnb, RefusesWhatDoesNotFit) {
  const auto fails = [](BnbModule module, int64_t n = 3, int64_t k = 5) {
    const auto part = module.Load(n, k);
    EXPECT_FALSE(part);
    return part ? Code::kInternal : part.error().code;
  };
  EXPECT_EQ(fails(BnbModule(), 5, 3), Code::kCorrupt);
  BnbModule module;
  module.bytes.pop_back();
  EXPECT_EQ(fails(module), Code::kCorrupt);
  module = BnbModule();
  module.absmax.pop_back();
  EXPECT_EQ(fails(module), Code::kCorrupt);
  for (const char* state :
       {"", "[]", "{}", R"({"quant_type":"nf4","blocksize":0,"shape":[3,5]})", R"({"quant_type":"nf4","blocksize":4,"shape":[3]})",
        R"({"quant_type":"nf4","blocksize":4,"shape":[4611686018427387904,5]})",
        R"({"quant_type":"nf4","blocksize":4,"shape":[3,5],"nested_blocksize":256,"nested_offset":0.1})"}) {
    module = BnbModule();
    module.state = state;
    EXPECT_EQ(fails(module), Code::kCorrupt) << state;
  }
}

TEST(BnbConfig, ContradictionsAndSkips) {
  EXPECT_EQ(ParseBitsandbytes(R"({"load_in_4bit":true,"load_in_8bit":true})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseBitsandbytes(R"({"llm_int8_threshold":-1})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseBitsandbytes(R"({"llm_int8_skip_modules":"lm_head"})").error().code, Code::kCorrupt);
  const auto config = *ParseBitsandbytes(R"({"_load_in_8bit":true,"llm_int8_skip_modules":["model.layers.1","lm_head"]})");
  EXPECT_EQ(config->EstimateBits({.name = "model.layers.1.mlp.up_proj"}), 0);
  EXPECT_EQ(config->EstimateBits({.name = "model.layers.10.mlp.up_proj"}), 8);
  EXPECT_EQ(config->EstimateBits({.kind = LayerKind::kLmHead, .name = "lm_head"}), 0);
  const auto four = config->GetQuantMethod({.name = "m", .has = [](std::string_view s) { return s == "weight.absmax"; }});
  ASSERT_FALSE(four);
  EXPECT_EQ(four.error().ToString(),
            "corrupt: config.json: load_in_8bit is true, but the tensor m.weight.absmax is of the other kind");
}

}  // namespace
}  // namespace nibble
