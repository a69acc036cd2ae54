// SPDX-License-Identifier: Apache-2.0
// Whole models from their files through the engine: GGUF against exact logits, a converted llama2.c model against its known story.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/engine.h"
#include "io/safetensors.h"
#include "support/paths.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

Result<std::unique_ptr<Engine>> OpenEngine(const std::string& path, CheckpointKind kind) {
  NIBBLE_TRY(auto checkpoint, Checkpoint::Open(path, kind));
  EngineOptions options;
  options.threads = 2;
  options.kv_auto = DType::kF32;
  return Engine::Open(std::move(checkpoint), options);
}

// Largest difference to the logits of a golden file: f32 [rows, positions, vocabulary] and i32 tokens [rows, positions].
void ExpectLogits(Engine& engine, const std::string& golden) {
  const auto expected = OpenSafetensors(golden);
  ASSERT_TRUE(expected) << expected.error().ToString();
  const StoredTensor* logits = expected->tensors.Find("logits");
  const StoredTensor* tokens = expected->tensors.Find("tokens");
  ASSERT_TRUE(logits && tokens);
  const int64_t rows = logits->shape[0], positions = logits->shape[1], vocabulary = logits->shape[2];
  float worst = 0;
  int64_t seen = 0;
  for (int64_t row = 0; row < rows; ++row) {
    Engine::Request request;
    for (int64_t i = 0; i < positions; ++i)
      request.prompt.push_back(static_cast<int32_t>(LoadScalar(DType::kI32, tokens->view.data, row * positions + i)));
    request.on_logits = [&](int64_t position, const float* got) {
      ++seen;
      for (int64_t v = 0; v < vocabulary; ++v) {
        const float difference =
            std::fabs(got[v] - LoadScalar(DType::kF32, logits->view.data, (row * positions + position) * vocabulary + v));
        worst = difference <= worst ? worst : difference;  // NaN counts
      }
    };
    const auto id = engine.Add(std::move(request));
    ASSERT_TRUE(id) << id.error().ToString();
    const auto done = engine.RunUntilIdle();
    ASSERT_TRUE(done) << done.error().ToString();
  }
  EXPECT_EQ(seen, rows * positions);
  EXPECT_LT(worst, 2e-4f);  // logits have rms 7.5; f32 sums of two layers in another order differ by about 1e-5
}

TEST(ModelFiles, GgufGivesTheExactLogits) {
  const std::string folder = testing::Repo("tests/data/checkpoints/llamacpp-q2-k");
  auto engine = OpenEngine(folder + "/q2-k.gguf", CheckpointKind::kGguf);
  ASSERT_TRUE(engine) << engine.error().ToString();
  ExpectLogits(**engine, folder + "/expected/logits.safetensors");
}

TEST(ModelFiles, Stories260KTellsItsStory) {
  const std::string folder = testing::Repo("tests/data/models/stories260K");
  auto engine = OpenEngine(folder, CheckpointKind::kHubFolder);
  ASSERT_TRUE(engine) << engine.error().ToString();
  const Json golden = ReadJsonFile(folder + "/expected/greedy.json").value();
  const auto wanted = golden["ids"].get<std::vector<int32_t>>();
  std::vector<int32_t> got;
  Engine::Request request;
  request.prompt = golden["prompt_ids"].get<std::vector<int32_t>>();
  request.max_tokens = static_cast<int64_t>(wanted.size());
  request.sampling.temperature = 0;
  request.on_token = [&](int32_t token) {
    got.push_back(token);
    return true;
  };
  const auto id = (*engine)->Add(std::move(request));
  ASSERT_TRUE(id) << id.error().ToString();
  ASSERT_TRUE((*engine)->RunUntilIdle());
  EXPECT_EQ(got, wanted);
}

}  // namespace
}  // namespace nibble
