// SPDX-License-Identifier: Apache-2.0
// A small EXL3 model made here: it runs, under one rank and two, and its decode mode can be changed while it runs.
#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "engine/decode_mode.h"
#include "io/safetensors_writer.h"
#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

// One layer of 128 features, two heads; every linear layer is mul1 of 3 bits with random words.
class TrellisModel : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(dir_.File("config.json")) << R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":128,
      "intermediate_size":128,"num_attention_heads":2,"num_key_value_heads":2,"head_dim":64,"num_hidden_layers":1,"vocab_size":32,
      "rms_norm_eps":1e-5,"max_position_embeddings":64,"tie_word_embeddings":true,
      "quantization_config":{"quant_method":"exl3","bits":3,"head_bits":16}})";
    const std::string layer = "model.layers.0.";
    Add("model.embed_tokens.weight", DType::kF32, {32, 128});
    Add("model.norm.weight", DType::kF32, {128});
    Add(layer + "input_layernorm.weight", DType::kF32, {128});
    Add(layer + "post_attention_layernorm.weight", DType::kF32, {128});
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                             "mlp.up_proj", "mlp.down_proj"}) {
      Add(layer + name + ".trellis", DType::kI16, {8, 8, 48});
      Add(layer + name + ".suh", DType::kF32, {128});
      Add(layer + name + ".svh", DType::kF32, {128});
      Add(layer + name + ".mul1", DType::kI32, {});
    }
    auto writer = SafetensorsWriter::CreateFolder(dir_.path(), declared_);
    ASSERT_TRUE(writer) << writer.error().ToString();
    for (size_t i = 0; i < declared_.size(); ++i)
      ASSERT_TRUE(writer->Write(declared_[i].name, std::as_bytes(std::span(bytes_[i]))));
    ASSERT_TRUE(writer->Commit());
  }
  // Random words, or random floats of size 0.1.
  void Add(const std::string& name, DType dtype, Shape shape) {
    declared_.push_back({name, dtype, shape});
    std::vector<uint8_t>& bytes = bytes_.emplace_back(static_cast<size_t>(shape.elems() * DTypeBytes(dtype)));
    if (dtype == DType::kF32) {
      for (size_t i = 0; i < bytes.size(); i += 4) {
        const float value = 0.1f * normal_(random_);
        std::memcpy(bytes.data() + i, &value, 4);
      }
    } else {
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    }
  }

  testing::TempDir dir_;
  std::mt19937 random_{5};
  std::normal_distribution<float> normal_;
  std::vector<SafetensorsDeclaration> declared_;
  std::vector<std::vector<uint8_t>> bytes_;
};

TEST_F(TrellisModel, DecodeModeChangesWhileItRuns) {
  const auto engine = testing::OpenModel(dir_.path());
  ASSERT_TRUE(engine) << engine.error().ToString();
  const std::vector<testing::Tokens> tokens = {{1, 5, 9, 2, 7, 3}};
  const std::vector<float> stored = testing::Logits(**engine, tokens);
  EXPECT_THAT(stored, ::testing::Each(::testing::Truly([](float x) { return std::isfinite(x); })));
  ASSERT_TRUE(SetDecodeMode(**engine, "mul1", false));  // the same values, computed
  EXPECT_EQ(testing::Logits(**engine, tokens), stored);
  const Status refused = SetDecodeMode(**engine, "3inst", false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUsage);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("other values than mul1"));
  ASSERT_TRUE(SetDecodeMode(**engine, "3inst", true));
  EXPECT_NE(testing::Logits(**engine, tokens), stored);
  ASSERT_TRUE(SetDecodeMode(**engine, "lut", false));
  EXPECT_EQ(testing::Logits(**engine, tokens), stored);
  EXPECT_FALSE(SetDecodeMode(**engine, "4inst", true));
}

TEST_F(TrellisModel, TwoRanksGiveTheSame) {
  const std::vector<testing::Tokens> tokens = {{1, 5, 9, 2, 7, 3}};
  const auto one = testing::OpenModel(dir_.path());
  EngineOptions options = testing::TestOptions();
  options.load.ranks = 2;
  const auto two = testing::OpenModel(dir_.path(), options);
  ASSERT_TRUE(one && two);
  const std::vector<float> a = testing::Logits(**one, tokens), b = testing::Logits(**two, tokens);
  EXPECT_LT(testing::WorstDifference(a, b), 1e-4f);
}

}  // namespace
}  // namespace nibble
