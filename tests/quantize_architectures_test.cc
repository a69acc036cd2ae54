// SPDX-License-Identifier: Apache-2.0
// `nibble quantize` of families whose files differ from Llama's: the output loads with no flag and stays near the floats.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "support/models.h"
#include "support/paths.h"
#include "support/program.h"

namespace nibble {
namespace {

// Mean over the rows of KL(wanted || found), logits in rows of `vocab`.
double MeanKl(const std::vector<float>& wanted, const std::vector<float>& found, size_t vocab) {
  const auto log_sum = [&](const float* row) {
    const double most = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - most);
    return most + std::log(sum);
  };
  double total = 0;
  for (size_t at = 0; at < wanted.size(); at += vocab) {
    const double p_sum = log_sum(&wanted[at]), q_sum = log_sum(&found[at]);
    for (size_t i = at; i < at + vocab; ++i) {
      const double p = static_cast<double>(wanted[i]) - p_sum, q = static_cast<double>(found[i]) - q_sum;
      total += std::exp(p) * (p - q);
    }
  }
  return total / static_cast<double>(wanted.size() / vocab);
}

void ExpectNear(const std::string& folder, const std::string& expected) {
  const testing::TempDir out;
  const auto run =
      testing::RunProgram(fmt::format("quantize '{}' '{}' --scheme W8A16 --group-size 32 --ragged channel", folder, out.File("q")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  const testing::Golden golden = testing::ReadGolden(expected);
  ASSERT_TRUE(golden.ok());
  EngineOptions options = testing::TestOptions();
  options.context = 64;
  const auto engine = testing::OpenModel(out.File("q"), options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  const std::vector<float> found = testing::Logits(**engine, golden.tokens);
  ASSERT_EQ(found.size(), golden.logits.size());
  // Of 8 bits in groups of 32 measured 2e-4 to 3e-3; without its biases a model is beyond 0.1.
  EXPECT_LT(MeanKl(golden.logits, found, found.size() / golden.tokens[0].size()), 0.01);
}

class QuantizedArchitecture : public ::testing::TestWithParam<const char*> {};
TEST_P(QuantizedArchitecture, StaysNearTheFloats) {
  const std::string folder = testing::Shared(std::string("data/architectures/") + GetParam());
  if (folder.empty()) GTEST_SKIP() << "needs the shared data: data/architectures/" << GetParam();
  ExpectNear(folder, folder + "/expected.safetensors");
}
// Biases, [k, n] products, fused modules, interleaved experts with biases, an untied head, convolutions.
INSTANTIATE_TEST_SUITE_P(All, QuantizedArchitecture,
                         ::testing::Values("qwen2", "gpt2", "gpt_neox", "gpt_oss", "bloom", "phi3", "lfm2", "granitemoe",
                                           "qwen3_next"),
                         [](const auto& test) { return std::string(test.param); });

// Bundled: permuted rows with biases, out of a GGUF file into a hub folder, whose biases are then copied beside quantized matrices.
TEST(Quantize, KeepsTheBiasesOfAFloatFolder) {
  const std::string name = testing::Repo("tests/data/gguf-architectures/granite");
  const testing::TempDir floats;
  const auto run = testing::RunProgram(fmt::format("convert '{}.gguf' '{}' --to safetensors --dtype f32", name, floats.File("m")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  ExpectNear(floats.File("m"), name + ".expected.safetensors");
}

// Like a router, a shared expert's gate stays float: engines hold it so whatever the settings say.
TEST(Quantize, LeavesTheGateOfASharedExpert) {
  const std::string name = testing::Repo("tests/data/gguf-architectures/qwen3_5_moe.gguf");
  const testing::TempDir dir;
  auto run = testing::RunProgram(fmt::format("convert '{}' '{}' --to safetensors --dtype f32", name, dir.File("m")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  run = testing::RunProgram(
      fmt::format("quantize '{}' '{}' --scheme W8A16 --group-size 32 --ragged channel", dir.File("m"), dir.File("q")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  const auto written = OpenSafetensorsFolder(dir.File("q"));
  ASSERT_TRUE(written);
  EXPECT_TRUE(written->tensors.Find("model.layers.0.mlp.shared_expert.up_proj.weight_packed"));
  EXPECT_TRUE(written->tensors.Find("model.layers.0.mlp.shared_expert_gate.weight"));
  EXPECT_TRUE(written->tensors.Find("model.layers.0.mlp.gate.weight"));
}

// The same model inside one of text and images: the output has the names of the source.
TEST(Quantize, KeepsThePrefixOfTheSource) {
  testing::EditableModel model = testing::EditableModel::Read(testing::Repo("tests/data/architectures/qwen3"));
  const Json text = model.config;
  model.config = {{"model_type", "some_vl"}, {"text_config", text}};
  std::map<std::string, testing::EditableModel::Tensor> renamed;
  for (auto& [tensor, value] : model.tensors)
    renamed[tensor.starts_with("model.") ? "model.language_model." + tensor.substr(6) : tensor] = std::move(value);
  model.tensors = std::move(renamed);
  const testing::TempDir dir, out;
  model.Write(dir.File("m"));
  const auto run = testing::RunProgram(
      fmt::format("quantize '{}' '{}' --scheme W8A16 --group-size 32 --ragged channel", dir.File("m"), out.File("q")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  const auto written = OpenSafetensorsFolder(out.File("q"));
  ASSERT_TRUE(written);
  EXPECT_TRUE(written->tensors.Find("model.language_model.layers.0.self_attn.q_proj.weight_packed"));
  EXPECT_TRUE(written->tensors.Find("model.language_model.norm.weight"));
  EXPECT_FALSE(written->tensors.HasPrefix("model.layers."));
  EXPECT_TRUE(testing::OpenModel(out.File("q")));
}

}  // namespace
}  // namespace nibble
