// SPDX-License-Identifier: Apache-2.0
// Tiny checkpoints that the real tools wrote, with options that the shared ones do not have, against the logits that the tools
// compute from them: every folder of tests/data/tool-checkpoints (README.md there).
#include <filesystem>

#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

constexpr double kFloatKl = 1e-6;

std::vector<std::string> Folders() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(testing::Repo("tests/data/tool-checkpoints")))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class ToolCheckpoints : public ::testing::TestWithParam<std::string> {};

TEST_P(ToolCheckpoints, GiveTheToolsLogits) {
  const std::string folder = testing::Repo("tests/data/tool-checkpoints/" + GetParam());
  auto engine = testing::OpenModel(folder);
  ASSERT_TRUE(engine) << engine.error().ToString();
  const testing::Golden golden = testing::ReadGolden(folder + "/expected/logits.safetensors");
  ASSERT_TRUE(golden.ok());
  EXPECT_LT(testing::MeanKl(golden.logits, testing::Logits(**engine, golden.tokens), golden.vocabulary), kFloatKl);
}

INSTANTIATE_TEST_SUITE_P(All, ToolCheckpoints, ::testing::ValuesIn(Folders()), [](const auto& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace nibble
