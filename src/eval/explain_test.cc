// SPDX-License-Identifier: Apache-2.0
#include "eval/explain.h"

#include <gtest/gtest.h>

#include <algorithm>

#include <fstream>

#include "engine/plan.h"
#include "support/paths.h"

namespace nibble {
namespace {

constexpr const char* kGolden[] = {"gptq/golden/gptqmodel-4bit-g128-asym-desc",
                                   "gptq/golden/gptqmodel-3bit-g128",
                                   "awq/golden/autoawq-gemm-g128",
                                   "fp8/golden/hf-fp8-block128",
                                   "compressed_tensors/golden/llmcompressor-w4a16-g128-asym-gptq-actorder-weight",
                                   "compressed_tensors/golden/llmcompressor-fp8-block"};

TEST(Explain, AlikeLayersAreOneGroup) {
  auto checkpoint = Checkpoint::Open(testing::Repo("tests/data/models/tales-1m"), CheckpointKind::kHubFolder);
  ASSERT_TRUE(checkpoint);
  const auto e = ExplainModel(**checkpoint, {});
  ASSERT_TRUE(e) << e.error().ToString();
  ASSERT_EQ(e->layers.size(), 5u);  // qkv, o, gate and up, down, lm_head
  EXPECT_EQ(e->layers[0].layers, (std::vector<int64_t>{0, 1}));
  ASSERT_EQ(e->layers[0].parts.size(), 3u);
  EXPECT_EQ(e->layers[0].parts[0].name, "model.layers.*.self_attn.q_proj");
  EXPECT_EQ(e->layers[0].parts[0].format, "bf16");
  EXPECT_TRUE(e->layers[4].layers.empty());
}

TEST(Explain, LowerMachinesAreRefusedWithAReason) {
  auto checkpoint = Checkpoint::Open(testing::Repo("tests/data/models/tales-1m"), CheckpointKind::kHubFolder);
  ASSERT_TRUE(checkpoint);
  const auto e = ExplainModel(**checkpoint, {.isa = Isa::kScalar});
  ASSERT_TRUE(e);
  const ExplainedPart& part = e->layers[0].parts[0];
  EXPECT_EQ(part.kernels[0], "strip64.scalar");
  EXPECT_TRUE(std::any_of(part.refused.begin(), part.refused.end(),
                          [](const auto& refusal) { return refusal.second.find("this machine runs scalar") != std::string::npos; }));
}

// The config alone and the stored weights agree about what is quantized and nearly about the bits.
TEST(EstimateBits, IsCloseToWhatIsStored) {
  for (const char* name : kGolden) {
    SCOPED_TRACE(name);
    const std::string folder = testing::Repo(std::string("src/methods/") + name);
    auto stored = Checkpoint::Open(folder, CheckpointKind::kHubFolder);
    auto alone = Checkpoint::OpenConfigOnly(folder + "/config.json");
    ASSERT_TRUE(stored) << stored.error().ToString();
    ASSERT_TRUE(alone) << alone.error().ToString();
    const std::string module = "model.layers.0.self_attn.k_proj";
    const auto part = (*stored)->Linear({.name = module});
    ASSERT_TRUE(part) << part.error().ToString();
    EXPECT_NEAR((*alone)->quantization().EstimateBits({.name = module}), BitsPerWeight(*part->weight), 0.26);
    EXPECT_EQ((*alone)->quantization().EstimateBits({.kind = LayerKind::kLmHead, .name = "lm_head"}), 0);
  }
}

TEST(EstimateBits, ThePlanOfAConfigAloneFollowsTheRules) {
  const testing::TempDir dir;
  std::ofstream(dir.File("config.json"))
      << R"({"model_type":"llama","hidden_size":256,"intermediate_size":512,"num_hidden_layers":1,
    "num_attention_heads":4,"vocab_size":512,"torch_dtype":"bfloat16","quantization_config":{"quant_method":"gptq","bits":4,"group_size":128,
    "desc_act":false,"sym":true,"dynamic":{"-:.*down_proj":{},"+:.*k_proj":{"bits":8,"group_size":32}}}})";
  auto checkpoint = Checkpoint::OpenConfigOnly(dir.File("config.json"));
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto config = ConfigOf(**checkpoint, {});
  ASSERT_TRUE(config) << config.error().ToString();
  const auto plan = PlanMemory(**checkpoint, *config, {.context = 64});
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_TRUE(plan->from_config_alone);
  const double four = 4 + 20.0 / 128, eight = 8 + 24.0 / 32;
  EXPECT_EQ(plan->parts[0].bytes, static_cast<int64_t>(256 * 256 / 8 * (3 * four + eight)));
  EXPECT_EQ(plan->parts[1].bytes, static_cast<int64_t>(256 * 512 / 8 * (2 * four + 16)));
  EXPECT_EQ(plan->parts[2].bytes, 512 * 256 * 2);
  EXPECT_EQ(plan->parameters, 4 * 256 * 256 + 3 * 256 * 512 + 2 * 512 * 256);
}

TEST(SketchWeight, EveryFormatThatDecodesHasAKernel) {
  for (const FormatId format : Formats()) {
    if (format->is_blocked() && !format->decode) continue;
    EXPECT_NE(KernelForFormat(format, {.isa = Isa::kScalar}), "") << format->name;
  }
}

TEST(RangesOf, JoinsNeighbours) {
  EXPECT_EQ(RangesOf({0, 1, 2, 5, 7, 8}), "0-2, 5, 7-8");
  EXPECT_EQ(RangesOf({}), "");
}

}  // namespace
}  // namespace nibble
