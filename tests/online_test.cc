// SPDX-License-Identifier: Apache-2.0
// --quantization NAME: float models quantized while they are loaded.
#include <random>

#include "methods/checkpoint_test.h"
#include "support/models.h"

namespace nibble {
namespace {

using testing::Tokens;

const std::string kTales = testing::Repo("tests/data/models/tales-1m");

Result<std::unique_ptr<Engine>> OpenOnline(const std::string& path, const std::string& format, int ranks = 1) {
  EngineOptions options = testing::TestOptions();
  options.load.ranks = ranks;
  NIBBLE_TRY(const ModelLocation location, ResolveModel(path));
  const bool gguf = location.kind == ModelLocation::kGguf;
  NIBBLE_TRY(auto checkpoint, Checkpoint::Open(location.path, gguf ? CheckpointKind::kGguf : CheckpointKind::kHubFolder));
  if (!format.empty()) NIBBLE_RETURN_IF_ERROR(checkpoint->QuantizeWhileLoading(format, 2));
  return Engine::Open(std::move(checkpoint), options);
}

std::vector<Tokens> Rows() {
  std::mt19937 random(3);
  std::vector<Tokens> rows(4, Tokens{0});
  for (Tokens& row : rows)
    while (row.size() < 48) row.push_back(static_cast<int32_t>(random() % 512));
  return rows;
}

// More bits, less divergence; and the memory that the plan announces is what the packed weights take, within the strips' padding.
TEST(OnlineQuantization, EveryFormatRunsAndCostsWhatItsBitsCost) {
  const auto plain = OpenOnline(kTales, "");
  ASSERT_TRUE(plain) << plain.error().ToString();
  const std::vector<float> wanted = testing::Logits(**plain, Rows());
  for (const OnlineFormat& format : OnlineFormats()) {
    SCOPED_TRACE(format.name);
    const auto engine = OpenOnline(kTales, std::string(format.name));
    ASSERT_TRUE(engine) << engine.error().ToString();
    const double bits = OnlineBits(format, 128), kl = testing::MeanKl(wanted, testing::Logits(**engine, Rows()), (*plain)->vocab());
    EXPECT_GT(kl, 0);
    EXPECT_LT(kl, bits > 8 ? 2e-2 : bits > 4 ? 0.2 : 3.0) << bits;
    EXPECT_LT((*engine)->packed_bytes(), (*plain)->packed_bytes());
  }
}

TEST(OnlineQuantization, RanksGiveTheSameTokens) {
  const auto one = OpenOnline(kTales, "int4"), two = OpenOnline(kTales, "int4", 2);
  ASSERT_TRUE(one && two);
  testing::ExpectClose(testing::Logits(**two, Rows()), testing::Logits(**one, Rows()));
}

TEST(OnlineQuantization, ExpertsAreQuantized) {
  const std::string folder = testing::Repo("tests/data/architectures/mixtral");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs tests/data/architectures/mixtral";
  const auto plain = OpenOnline(folder, ""), nf4 = OpenOnline(folder, "nf4");
  ASSERT_TRUE(plain && nf4);
  EXPECT_LT((*nf4)->packed_bytes(), (*plain)->packed_bytes());
}

TEST(OnlineQuantization, OfAQuantizedCheckpointNamesBoth) {
  NIBBLE_NEED_CHECKPOINT(folder, "gptqmodel-4bit-g128-sym");
  const auto engine = OpenOnline(folder, "nf4");
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, Code::kUsage);
  EXPECT_NE(engine.error().message.find("--quantization nf4"), std::string::npos) << engine.error().message;
  EXPECT_NE(engine.error().message.find("gptq"), std::string::npos) << engine.error().message;
  EXPECT_TRUE(OpenOnline(folder, "gptq"));  // its own name is no contradiction
}

TEST(OnlineQuantization, UnknownNamesAreAnswered) {
  EXPECT_EQ(OpenOnline(kTales, "nf5").error().message.substr(0, 49), "--quantization nf5: unknown; nearest: nf4, fp8, i");
}

}  // namespace
}  // namespace nibble
