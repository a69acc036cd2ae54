// SPDX-License-Identifier: Apache-2.0
// Tiny checkpoints that the real tools wrote (tests/data/checkpoints), one for each thing that the shared ones do not show: the
// tool's logits, and its dequantized weights bit for bit.
#include "methods/checkpoint_test.h"
#include "support/models.h"

namespace nibble {
namespace {

struct Case {
  const char* name;
  double bound;  // mean KL from the tool's logits
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

constexpr double kFloat = 1e-6, kQuantized = 1e-4;
constexpr Case kCases[] = {
    {"hqq-qmodel-mixtral", kFloat},
    {"hqq-qmodel-quantized-scales", kFloat},
    {"quanto-qint8-act-e5m2", kQuantized},
};

class SmallCheckpoints : public ::testing::TestWithParam<Case> {
 protected:
  std::string folder_ = testing::Repo(std::string("tests/data/checkpoints/") + GetParam().name);
};

TEST_P(SmallCheckpoints, GivesTheToolsLogits) {
  const testing::Golden golden = testing::ReadGolden(folder_ + "/expected/logits.safetensors");
  ASSERT_TRUE(golden.ok());
  auto engine = testing::OpenModel(folder_);
  ASSERT_TRUE(engine) << engine.error().ToString();
  EXPECT_LT(testing::MeanKl(golden.logits, testing::Logits(**engine, golden.tokens), golden.vocabulary), GetParam().bound);
}

TEST_P(SmallCheckpoints, DecodesBitForBit) {
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

std::string CaseName(const ::testing::TestParamInfo<Case>& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, SmallCheckpoints, ::testing::ValuesIn(kCases), CaseName);

}  // namespace
}  // namespace nibble
