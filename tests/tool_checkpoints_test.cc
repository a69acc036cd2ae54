// SPDX-License-Identifier: Apache-2.0
// Tiny checkpoints that the real tools wrote, with options that the shared ones do not have (tests/data/tool-checkpoints, README.md
// there): the logits that the tools compute from them and, where the folder has them, their dequantized weights bit for bit.
#include <filesystem>

#include "methods/checkpoint_test.h"
#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

constexpr double kToolFloatKl = 1e-6, kToolQuantizedKl = 1e-4;

// The folders that have this file.
std::vector<std::string> FoldersWith(const char* file) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(testing::Repo("tests/data/tool-checkpoints")))
    if (std::filesystem::exists(entry.path() / file)) names.push_back(entry.path().filename().string());
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
  const double bound = GetParam().find("-act-") == std::string::npos ? kToolFloatKl : kToolQuantizedKl;
  EXPECT_LT(testing::MeanKl(golden.logits, testing::Logits(**engine, golden.tokens), golden.vocabulary), bound);
}

// Where the tool gives its weights; elsewhere the logits above speak for them.
class ToolWeights : public ToolCheckpoints {};

TEST_P(ToolWeights, DecodeBitForBit) {
  const auto expected = OpenSafetensors(folder_ + "/expected/weights.safetensors");
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

std::string FolderName(const ::testing::TestParamInfo<std::string>& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, ToolCheckpoints, ::testing::ValuesIn(FoldersWith("config.json")), FolderName);
INSTANTIATE_TEST_SUITE_P(All, ToolWeights, ::testing::ValuesIn(FoldersWith("expected/weights.safetensors")), FolderName);

}  // namespace
}  // namespace nibble
