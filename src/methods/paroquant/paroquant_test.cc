// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/transform.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

// The tool's weights hold scales and rotations: row by row, W' = R^T w, or w . (R x) = W' . x for every unit vector x.
void ExpectEffectiveWeights(const std::string& folder, const std::string& expected_file) {
  const testing::TestCheckpoint checkpoint = testing::TestCheckpoint::Open(folder);
  ASSERT_TRUE(checkpoint.config);
  const auto expected = OpenSafetensors(expected_file);
  ASSERT_TRUE(expected);
  const StoredTensor& tensor = expected->tensors.tensors()[0];
  const auto part = checkpoint.Load(tensor.name, 0, 0);
  ASSERT_TRUE(part) << part.error().ToString();
  const StoredWeight& weight = *part->weight;
  const int64_t rows = tensor.shape[0], k = weight.k;
  ASSERT_EQ(k, tensor.shape[1]);
  ASSERT_TRUE(CheckTransforms(weight.in, k));
  std::vector<float> w(static_cast<size_t>(rows * k)), x(static_cast<size_t>(k)), scratch(static_cast<size_t>(k));
  DecodeRows(weight, {0, rows}, {0, k}, w.data());
  for (int64_t column = 0; column < k; ++column) {
    std::fill(x.begin(), x.end(), 0.0f);
    x[static_cast<size_t>(column)] = 1;
    ASSERT_TRUE(ApplyTransforms(weight.in, x.data(), k, scratch.data()));
    for (int64_t row = 0; row < rows; ++row) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(w[static_cast<size_t>(row * k + i)]) * x[static_cast<size_t>(i)];
      ASSERT_NEAR(sum, LoadScalar(tensor.view.dtype, tensor.view.data, row * k + column), 2e-6) << row << " " << column;
    }
  }
}

TEST(ParoQuantCheckpoint, GivesTheToolsEffectiveWeights) {
  NIBBLE_NEED_CHECKPOINT(folder, "gptqmodel-paroquant");
  ExpectEffectiveWeights(folder, folder + "/expected/weights.safetensors");
}

TEST(ParoQuantGolden, GivesTheToolsEffectiveWeights) {
  const std::string folder = testing::Repo("src/methods/paroquant/golden/gptqmodel-paroquant");
  ExpectEffectiveWeights(folder, folder + "/expected.safetensors");
}

TEST(ParoQuantConfig, RefusesWhatItCannotMean) {
  const auto code = [](const std::string& text) {
    return FindQuantization("paroquant")->from_config(*ParseJson(text, "test"), {"config.json"}).error().code;
  };
  EXPECT_EQ(code(R"({"bits":3})"), Code::kUnsupported);
  EXPECT_EQ(code(R"({"bits":4,"group_size":0})"), Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
