// SPDX-License-Identifier: Apache-2.0
// GGUF files against transformers' logits: files of llama.cpp's converter for families whose weights it changes
// (tests/data/gguf-architectures), and files that our writer makes of the tiny models of every architecture that GGUF can say.
#include <algorithm>
#include <filesystem>

#include "support/models.h"
#include "support/paths.h"
#include "support/program.h"

namespace nibble {
namespace {

using testing::TestOptions;

void ExpectGolden(const std::string& gguf, const std::string& expected) {
  const testing::Golden golden = testing::ReadGolden(expected);
  ASSERT_TRUE(golden.ok());
  EngineOptions options = TestOptions();
  options.context = 64;
  const auto engine = testing::OpenModel(gguf, options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  testing::ExpectClose(testing::Logits(**engine, golden.tokens), golden.logits);
}

class ConvertersGguf : public ::testing::TestWithParam<const char*> {
 protected:
  static std::string File(const char* end) {
    return testing::Repo(std::string("tests/data/gguf-architectures/") + GetParam() + end);
  }
  static std::string Expected() {
    const std::string own = File(".expected.safetensors");
    return std::filesystem::exists(own)
               ? own
               : testing::Repo(std::string("tests/data/architectures/") + GetParam() + "/expected.safetensors");
  }
};
TEST_P(ConvertersGguf, ComputesWhatTheHubFolderDoes) { ExpectGolden(File(".gguf"), Expected()); }
// Into a hub folder and back: what the reader says is what the writer needs.
TEST_P(ConvertersGguf, IsWrittenAgain) {
  const testing::TempDir dir;
  auto run = testing::RunProgram(fmt::format("convert '{}' '{}' --to safetensors --dtype f32", File(".gguf"), dir.File("m")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  run = testing::RunProgram(fmt::format("convert '{}' '{}' --to gguf --dtype f32", dir.File("m"), dir.File("a.gguf")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  ExpectGolden(dir.File("a.gguf"), Expected());
}
INSTANTIATE_TEST_SUITE_P(All, ConvertersGguf,
                         ::testing::Values("gemma2", "deepseek_v2", "qwen3_5_moe", "bloom", "phi3", "gpt_oss", "apertus", "granite",
                                           "exaone", "olmo3", "granitemoeshared", "gemma4", "gemma4_experts", "laguna"),
                         [](const auto& test) { return std::string(test.param); });

// What GGUF cannot say of the tiny models is left out of this list: windows where llama.cpp has none (mistral, qwen2), dynamic
// ropes, sizes that llama.cpp fixes (gemma2, gemma3, llama4, phimoe).
class OurGguf : public ::testing::TestWithParam<const char*> {};
TEST_P(OurGguf, ComputesWhatTheHubFolderDoes) {
  const std::string bundled = testing::Repo(std::string("tests/data/architectures/") + GetParam());
  const std::string folder =
      std::filesystem::exists(bundled) ? bundled : testing::Shared(std::string("data/architectures/") + GetParam());
  if (folder.empty()) GTEST_SKIP() << "needs the shared data: data/architectures/" << GetParam();
  const testing::TempDir out;
  const auto run = testing::RunProgram(fmt::format("convert '{}' '{}' --to gguf --dtype f32", folder, out.File("a.gguf")));
  ASSERT_EQ(run.exit_code, 0) << run.output;
  ExpectGolden(out.File("a.gguf"), folder + "/expected.safetensors");
}
INSTANTIATE_TEST_SUITE_P(All, OurGguf,
                         ::testing::Values("llama-rope3-tied", "qwen3", "mixtral", "arcee", "ernie4_5", "exaone", "exaone_moe",
                                           "glm", "gpt_bigcode", "granitemoeshared", "internlm2", "jais2", "laguna", "ministral3",
                                           "olmo3", "seed_oss", "solar_open", "afmoe", "apertus", "bitnet", "bloom", "cohere",
                                           "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5_moe", "exaone4", "falcon",
                                           "falcon-new", "gemma", "gemma4", "glm4", "glm4_moe", "glm4_moe_lite", "gpt2", "gpt_neox",
                                           "gpt_oss", "gpt_oss-mxfp4", "granite", "granitemoe", "hunyuan_v1_dense",
                                           "hunyuan_v1_moe", "lfm2", "llama-linear", "llama-yarn", "mimo_v2_flash", "minimax_m2",
                                           "mpt", "nemotron", "olmo", "olmo2", "olmoe", "phi", "phi3", "qwen2_moe", "qwen3_5",
                                           "qwen3_5_moe", "qwen3_moe", "qwen3_next", "smollm3", "stablelm", "starcoder2"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace nibble
