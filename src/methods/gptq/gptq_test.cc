// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "base/log.h"
#include "methods/checkpoint_test.h"
#include "methods/gptq/config.h"

namespace nibble {
namespace {

class GptqCheckpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(GptqCheckpoint, DecodesBitForBit) {
  NIBBLE_NEED_CHECKPOINT(folder, GetParam());
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, GptqCheckpoint,
                         ::testing::Values("gptqmodel-4bit-g128-sym", "gptqmodel-4bit-g128-asym-desc",
                                           "gptqmodel-4bit-g128-asym-gptq-v2", "gptqmodel-2bit-g64", "gptqmodel-3bit-g128",
                                           "gptqmodel-4bit-channel", "gptqmodel-dynamic", "gptqmodel-lm-head",
                                           "gptqmodel-embed-both", "gptqmodel-rotation-hadamard", "gptqmodel-5bit-g128-gptq-p"));

class GptqGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(GptqGolden, DecodesAModuleCutFromAToolsFile) {
  const std::string folder = testing::Repo("src/methods/gptq/golden/" + std::string(GetParam()));
  testing::ExpectDequantizedWeights(folder, folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, GptqGolden, ::testing::Values("gptqmodel-4bit-g128-asym-desc", "gptqmodel-3bit-g128"));

Result<std::unique_ptr<QuantizationConfig>> ParseGptq(const std::string& text) {
  return FindQuantization("gptq")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

TEST(GptqConfig, DynamicRulesDecideByModule) {
  const Json json = *ParseJson(R"({"quant_method":"gptq","bits":4,"group_size":128,"sym":true,"desc_act":false,"dynamic":{
    "+:model\\.layers\\.0\\..*":{"bits":8,"group_size":64}, "-:.*\\.mlp\\.gate$":{}, ".*k_proj":{"sym":false}}})",
                               "test");
  const GptqConfig config = *GptqConfig::Parse(json, {"config.json"});
  EXPECT_TRUE(config.rules.Find("model.layers.0.mlp.gate", "")->skip);  // skips are tested first
  EXPECT_EQ(config.SettingsOf(config.rules.Find("model.layers.0.mlp.up_proj", "")).bits, 8);
  EXPECT_EQ(config.SettingsOf(config.rules.Find("model.layers.0.mlp.up_proj", "")).group_size, 64);
  EXPECT_FALSE(config.SettingsOf(config.rules.Find("model.layers.1.self_attn.k_proj", "")).sym);
  EXPECT_EQ(config.rules.Find("model.layers.1.self_attn.q_proj", ""), nullptr);
  EXPECT_EQ(config.rules.Find("x.model.layers.0.q_proj", ""), nullptr);    // anchored at the start
  EXPECT_NE(config.rules.Find("a.q_proj", "a.k_proj_and_more"), nullptr);  // a fused name counts
}

// Of two rules that match, the first in the file decides; a JSON object in memory is sorted.
TEST(GptqConfig, DynamicRulesKeepTheOrderOfTheFile) {
  const std::string path = ::testing::TempDir() + "/dynamic_order.json";
  std::ofstream(path) << R"({"a":{"dynamic":{"x":1}},"quantization_config":{"bits":4,"dynamic":{
    "+:model\\.layers\\.1\\..*":{"bits":8}, "+:.*q_proj":{"bits":2}, "-:.*up_proj":{}}}})";
  const Json model = *ReadJsonFile(path);
  const GptqConfig config =
      *GptqConfig::Parse(model["quantization_config"], {"config.json", &model, path, {"quantization_config"}});
  EXPECT_EQ(config.SettingsOf(config.rules.Find("model.layers.1.q_proj", "")).bits, 8);
  EXPECT_EQ(config.SettingsOf(config.rules.Find("model.layers.0.q_proj", "")).bits, 2);
  EXPECT_TRUE(config.rules.Find("model.layers.1.up_proj", "")->skip);
}

TEST(GptqConfig, WithoutTensorsTheSettingsDecide) {
  const auto config =
      *ParseGptq(R"({"bits":4,"lm_head":false,"modules_in_block_to_quantize":[["self_attn.q_proj"]],"dynamic":{"-:.*1.*":{}}})");
  const auto quantized = [&](LayerKind kind, const char* name) {
    return *config->GetQuantMethod({.kind = kind, .name = name}) != nullptr;
  };
  EXPECT_TRUE(quantized(LayerKind::kLinear, "layers.0.self_attn.q_proj"));
  EXPECT_FALSE(quantized(LayerKind::kLinear, "layers.1.self_attn.q_proj"));
  EXPECT_FALSE(quantized(LayerKind::kLinear, "layers.0.mlp.up_proj"));
  EXPECT_FALSE(quantized(LayerKind::kLmHead, "lm_head"));
  EXPECT_FALSE(quantized(LayerKind::kEmbedding, "model.embed_tokens"));
}

TEST(GptqConfig, RefusesWhatItCannotMean) {
  const auto error = [](const std::string& text) { return ParseGptq(text).error().ToString(); };
  EXPECT_EQ(ParseGptq(R"({"bits":9})").error().code, Code::kCorrupt);
  EXPECT_EQ(error(R"({"bits":4,"group_size":0})"), "corrupt: config.json: group_size is 0, wanted -1 or a positive number");
  EXPECT_EQ(error(R"({"bits":4,"format":"gptq","checkpoint_format":"gptq_v2"})"),
            "corrupt: config.json: checkpoint_format \"gptq_v2\" contradicts format \"gptq\"");
  EXPECT_EQ(error(R"({"bits":4,"checkpoint_format":"best"})"),
            "unsupported: config.json: checkpoint_format \"best\"; readable are gptq, gptq_v2, gptq_p, gemm, gemv, gemv_fast, "
            "llm-awq, marlin, marlin_24, bitblas");
  EXPECT_EQ(ParseGptq(R"({"bits":4,"dynamic":{"(":{}}})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseGptq(R"({"bits":4,"dynamic":{"a":{"bits":0}}})").error().code, Code::kCorrupt);
  EXPECT_EQ(ParseGptq(R"({"bits":"four"})").error().code, Code::kCorrupt);
  EXPECT_EQ(error(R"({"bits":4,"pack_dtype":"int64"})"),
            "unsupported: config.json: pack_dtype \"int64\"; readable are int8, int16, int32: save the model again with pack_dtype "
            "int32");
  EXPECT_EQ(ParseGptq(R"({"bits":3,"pack_dtype":"int16"})").error().code, Code::kUnsupported);
}

TEST(GptqConfig, UnknownKeysAreNamed) {
  std::vector<std::string> warnings;
  SetLogSink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  ASSERT_TRUE(ParseGptq(R"({"bits":4,"bitz":3,"damp_percent":0.1})"));
  SetLogSink(nullptr);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("\"bitz\""), std::string::npos);
}

TEST(GptqConfig, AwqLayoutsUnderTheNameGptq) {
  for (const char* format : {"gemm", "gemv", "gemv_fast", "llm-awq"}) {
    SCOPED_TRACE(format);
    const bool fast = format[4] == '_' || format[0] == 'l';
    const auto config =
        *ParseGptq(fmt::format(R"({{"bits":4,"checkpoint_format":"{}","pack_dtype":"{}"}})", format, fast ? "int16" : "int32"));
    const auto method = *config->GetQuantMethod({.kind = LayerKind::kLinear, .name = "x"});
    const std::vector<ParamDecl> params = method->CreateWeights({"x", 64, 128});
    const auto qweight = std::find_if(params.begin(), params.end(), [](const ParamDecl& p) { return p.suffix == "qweight"; });
    ASSERT_NE(qweight, params.end());
    EXPECT_EQ(std::count(qweight->dtypes.begin(), qweight->dtypes.end(), DType::kI16) == 1, fast);
  }
}

TEST(GptqConfig, ActivationsAsTheSettingsSay) {
  const auto parse = [](const std::string& text) { return GptqConfig::Parse(*ParseJson(text, "test"), {"config.json"}); };
  EXPECT_FALSE(parse(R"({"bits":4})")->fp8_activations);
  EXPECT_TRUE(parse(R"({"bits":4,"activation":"w4afp8"})")->fp8_activations);
  EXPECT_TRUE(parse(R"({"bits":4,"activation":{"mode":"w4afp8"}})")->fp8_activations);
  EXPECT_EQ(parse(R"({"bits":4,"activation":{"mode":"w4a_best"}})").error().ToString(),
            "unsupported: config.json: activation is \"w4a_best\"; known are \"w4afp8\", \"w4a_nvfp4\"");
  std::vector<std::string> warnings;
  SetLogSink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  EXPECT_FALSE(parse(R"({"bits":4,"activation":{"mode":"w4a_nvfp4","recipe":"four_six"}})")->fp8_activations);
  SetLogSink(nullptr);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("w4a_nvfp4"), std::string::npos);
}

// The same words cut into smaller ones: little-endian bytes in their order along k.
TEST(GptqWeight, WordsOfEightAndSixteenBits) {
  const int64_t n = 8, k = 32;
  for (const int word : {8, 16}) {
    SCOPED_TRACE(word);
    const int64_t per_word = word / 4;
    const DType dtype = word == 8 ? DType::kI8 : DType::kI16;
    Tensor codes(dtype, {k / per_word, n}), zeros(dtype, {1, n / per_word}), scales(DType::kF32, {1, n});
    const auto set = [&](Tensor& words, int64_t at, int64_t field, int value) {
      if (word == 8) words.as<uint8_t>()[at] |= static_cast<uint8_t>(value << (4 * field));
      if (word == 16) words.as<uint16_t>()[at] |= static_cast<uint16_t>(value << (4 * field));
    };
    const auto code = [](int64_t row, int64_t column) { return static_cast<int>((row * 5 + column * 3) % 16); };
    for (int64_t row = 0; row < n; ++row) {
      scales.as<float>()[row] = 0.5f;
      set(zeros, row / per_word, row % per_word, static_cast<int>(row));
      for (int64_t column = 0; column < k; ++column) set(codes, column / per_word * n + row, column % per_word, code(row, column));
    }
    const StoredTensor stored[] = {{.name = "x.qweight", .view = codes.view}, {.view = zeros.view}, {.view = scales.view}};
    const BoundParams params{
        .name = "x", .n = n, .k = k, .params = {{"qweight", &stored[0]}, {"qzeros", &stored[1]}, {"scales", &stored[2]}}};
    const LayerQuery layer{.kind = LayerKind::kLinear, .name = "x"};
    const auto config = *ParseGptq(word == 8 ? R"({"bits":4,"group_size":-1,"pack_dtype":"int8"})"
                                             : R"({"bits":4,"group_size":-1,"pack_dtype":"int16"})");
    const auto part = (*config->GetQuantMethod(layer))->MakeWeight(params);
    ASSERT_TRUE(part) << part.error().ToString();
    std::vector<float> got(static_cast<size_t>(n * k));
    DecodeRows(*part->weight, {0, n}, {0, k}, got.data());
    for (int64_t i = 0; i < n * k; ++i)
      EXPECT_EQ(got[static_cast<size_t>(i)], 0.5f * static_cast<float>(code(i / k, i % k) - (i / k + 1))) << i;
    const auto plain = *ParseGptq(R"({"bits":4,"group_size":-1})");
    const std::string text = (*plain->GetQuantMethod(layer))->MakeWeight(params).error().ToString();
    EXPECT_NE(text.find(fmt::format("x.qweight is i{}, but the config's pack_dtype is int32", word)), std::string::npos) << text;
  }
}

TEST(GptqWeight, ErrorsNameTensorAndShapes) {
  const std::string folder = testing::Repo("src/methods/gptq/golden/gptqmodel-4bit-g128-asym-desc");
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  const std::string name = "model.layers.0.self_attn.k_proj";
  const std::string text = checkpoint.Load(name, 128, 512).error().ToString();
  EXPECT_NE(text.find("k_proj.qweight is [32,128]"), std::string::npos) << text;
  EXPECT_NE(checkpoint.Load(name, 64, 256).error().ToString().find("wanted [32,64]"), std::string::npos);
}

}  // namespace
}  // namespace nibble
