// SPDX-License-Identifier: Apache-2.0
// Tiny checkpoints that the real tools wrote, with options that the shared ones do not have (tests/data/tool-checkpoints, README.md
// there): the logits that the tools compute from them and, where the folder has them, their dequantized weights bit for bit.
#include <filesystem>

#include "methods/checkpoint_test.h"
#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

constexpr double kFloatKl = 1e-6, kQuantizedKl = 1e-4;

std::vector<std::string> Folders() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(testing::Repo("tests/data/tool-checkpoints")))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class ToolCheckpoints : public ::testing::TestWithParam<std::string> {
 protected:
  std::string folder_ = testing::Repo("tests/data/tool-checkpoints/" + GetParam());
};

TEST_P(ToolCheckpoints, GiveTheToolsLogits) {
  auto engine = testing::OpenModel(folder_);
  ASSERT_TRUE(engine) << engine.error().ToString();
  const testing::Golden golden = testing::ReadGolden(folder_ + "/expected/logits.safetensors");
  ASSERT_TRUE(golden.ok());
  const double bound = GetParam().find("-act-") == std::string::npos ? kFloatKl : kQuantizedKl;
  EXPECT_LT(testing::MeanKl(golden.logits, testing::Logits(**engine, golden.tokens), golden.vocabulary), bound);
}

TEST_P(ToolCheckpoints, DecodeBitForBit) {
  const std::string file = folder_ + "/expected/weights.safetensors";
  if (!std::filesystem::exists(file)) return;  // its tool gives none; the logits above speak for the weights
  const auto expected = OpenSafetensors(file);
  ASSERT_TRUE(expected) << expected.error().ToString();
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder_);
  for (const StoredTensor& tensor : expected->tensors.tensors()) {
    SCOPED_TRACE(tensor.name);
    const auto part = checkpoint.Load(tensor.name, 0, 0);
    ASSERT_TRUE(part) << part.error().ToString();
    const int64_t rows = tensor.shape[0], k = tensor.shape[1];
    ASSERT_EQ(part->weight->k, k);
    std::vector<float> wanted(static_cast<size_t>(rows * k)), got(wanted.size());
    ConvertToF32(tensor.view.dtype, tensor.view.data, rows * k, wanted.data());
    DecodeRows(*part->weight, {0, rows}, {0, k}, got.data());
    EXPECT_EQ(got, wanted);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ToolCheckpoints, ::testing::ValuesIn(Folders()), [](const auto& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace nibble
