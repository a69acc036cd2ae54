// SPDX-License-Identifier: Apache-2.0
// Models with a state that every token rewrites: what a sequence gets does not depend on who runs beside it or used its slot
// before, nor on chunks, threads or the number format of the cache beside the states.
#include "support/models.h"
#include "support/paths.h"

namespace nibble {
namespace {

using testing::Golden;
using testing::TestOptions;
using testing::Tokens;

class Recurrent : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = testing::Shared(std::string("data/architectures/") + GetParam());
    if (folder_.empty()) GTEST_SKIP() << "needs the shared data: data/architectures/" << GetParam();
    golden_ = testing::ReadGolden(folder_ + "/expected.safetensors");
    ASSERT_TRUE(golden_.ok());
    const Tokens& tokens = golden_.tokens[0];
    for (const auto& [begin, end] : {std::pair{0, 8}, {0, 24}, {5, 6}, {3, 17}, {10, 24}})
      rows_.emplace_back(tokens.begin() + begin, tokens.begin() + end);
  }

  std::string folder_;
  Golden golden_;
  std::vector<Tokens> rows_;
};

TEST_P(Recurrent, SequencesTogetherGiveWhatEachGivesAlone) {
  EngineOptions options = TestOptions();
  options.context = 64;
  auto alone = testing::OpenModel(folder_, options);
  ASSERT_TRUE(alone) << alone.error().ToString();
  std::vector<float> wanted;
  std::vector<Tokens> wanted_tokens;
  for (const Tokens& row : rows_) {
    const std::vector<float> logits = testing::Logits(**alone, {row});
    wanted.insert(wanted.end(), logits.begin(), logits.end());
    wanted_tokens.push_back(testing::Greedy(**alone, row, 16));
  }
  EXPECT_EQ(wanted_tokens[0], golden_.greedy);
  for (const int64_t sequences : {2, 5})  // two: the others wait for a slot
    for (const int64_t batch_rows : {1, 7, 512}) {
      SCOPED_TRACE(std::to_string(sequences) + " sequences, rows a step: " + std::to_string(batch_rows));
      options.max_sequences = sequences;
      options.batch_rows = batch_rows;
      options.threads = 3;
      auto together = testing::OpenModel(folder_, options);
      ASSERT_TRUE(together) << together.error().ToString();
      EXPECT_EQ(testing::DifferentBits(testing::Logits(**together, rows_), wanted), 0);
      EXPECT_EQ(testing::GreedyAll(**together, rows_, 16), wanted_tokens);
      EXPECT_EQ((*together)->shared_tokens(), 0);
    }
}

TEST_P(Recurrent, ACacheOfFourBitsStandsBesideTheStates) {
  EngineOptions options = TestOptions();
  options.context = 64;
  options.max_sequences = 3;
  options.kv_dtype = *ParseKvFormats("int4");
  auto engine = testing::OpenModel(folder_, options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  // Prompts of 24 positions are read from bf16 copies alone.
  const std::vector<float> logits = testing::Logits(**engine, golden_.tokens);
  ASSERT_EQ(logits.size(), golden_.logits.size());
  float worst = 0;
  for (size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::fabs(logits[i] - golden_.logits[i]));
  EXPECT_LT(worst, 0.05f * testing::Largest(golden_.logits));
}

TEST_P(Recurrent, ThePlanCountsTheStatesOfEverySequence) {
  EngineOptions options = TestOptions();
  options.context = 64;
  options.max_sequences = 3;
  auto engine = testing::OpenModel(folder_, options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  int64_t bytes = 0;
  for (const LayerState& state : (*engine)->graph().states) bytes += 3 * StateSlots::Bytes(state);
  EXPECT_GT(bytes, 0);
  EXPECT_EQ((*engine)->plan().state_bytes, bytes);
}

INSTANTIATE_TEST_SUITE_P(All, Recurrent, ::testing::Values("lfm2", "qwen3_next", "qwen3_5", "qwen3_5_moe", "minimax"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace nibble
