// SPDX-License-Identifier: Apache-2.0
// Every architecture against logits and greedy continuations that transformers computed in float32 (tests/data/architectures, and
// the larger shared set): in one chunk and in small ones, on one rank and on two.
#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

using testing::Golden;
using testing::TestOptions;
using testing::Tokens;

struct Case {
  const char* name;
  bool bundled = false;  // in the repository; the others are shared data
  // Dynamic NTK: angles depend on how long the sequence was when a token was computed, so chunks give other numbers by design, in
  // transformers too; the golden is one whole forward.
  bool whole_only = false;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Architectures : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string bundled = testing::Repo(std::string("tests/data/architectures/") + GetParam().name);
    folder_ = GetParam().bundled ? bundled : testing::Shared(std::string("data/architectures/") + GetParam().name);
    if (folder_.empty()) GTEST_SKIP() << "needs the shared data: data/architectures/" << GetParam().name;
    golden_ = testing::ReadGolden(folder_ + "/expected.safetensors");
    ASSERT_TRUE(golden_.ok());
  }

  std::string folder_;
  Golden golden_;
};

TEST_P(Architectures, LogitsInOneChunkAndInMany) {
  for (const int64_t batch_rows : {512, 3, 1}) {
    if (GetParam().whole_only && batch_rows < 512) continue;
    SCOPED_TRACE(batch_rows);
    EngineOptions options = TestOptions();
    options.batch_rows = batch_rows;
    options.context = 64;
    auto engine = testing::OpenModel(folder_, options);
    ASSERT_TRUE(engine) << engine.error().ToString();
    testing::ExpectClose(testing::Logits(**engine, golden_.tokens), golden_.logits);
  }
}

TEST_P(Architectures, GreedyContinuation) {
  ASSERT_EQ(golden_.greedy.size(), 16u);
  for (const int64_t batch_rows : {512, 3, 1}) {
    if (GetParam().whole_only && batch_rows < 512) continue;
    SCOPED_TRACE(batch_rows);
    EngineOptions options = TestOptions();
    options.batch_rows = batch_rows;
    options.context = 64;
    auto engine = testing::OpenModel(folder_, options);
    ASSERT_TRUE(engine) << engine.error().ToString();
    const Tokens prompt(golden_.tokens[0].begin(), golden_.tokens[0].begin() + 8);
    EXPECT_EQ(testing::Greedy(**engine, prompt, 16), golden_.greedy);
  }
}

TEST_P(Architectures, TwoRanks) {
  EngineOptions options = TestOptions();
  options.load.ranks = 2;
  options.context = 64;
  auto engine = testing::OpenModel(folder_, options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  testing::ExpectClose(testing::Logits(**engine, golden_.tokens), golden_.logits);
  const Tokens prompt(golden_.tokens[0].begin(), golden_.tokens[0].begin() + 8);
  EXPECT_EQ(testing::Greedy(**engine, prompt, 16), golden_.greedy);
}

INSTANTIATE_TEST_SUITE_P(All, Architectures,
                         ::testing::Values(Case{"llama-rope3-tied", true}, Case{"mistral", true}, Case{"qwen3", true},
                                           Case{"mixtral", true}, Case{"llama"}, Case{"llama-linear"},
                                           Case{"llama-dynamic", false, true}, Case{"llama-yarn"},
                                           Case{"llama-rope3-tied-v4config"}, Case{"llama-sharded"}, Case{"qwen2"}, Case{"qwen3_moe"}),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace nibble
