// SPDX-License-Identifier: Apache-2.0
// The bundled models tales-5m and tales-1m against what PyTorch computes: logits, greedy texts, perplexity of a book they never
// saw.
#include <gmock/gmock.h>

#include "support/models.h"
#include "support/paths.h"
#include "support/program.h"
#include "tokenizers/tokenizer.h"

namespace nibble {
namespace {

using testing::Tokens;

struct TalesCase {
  const char *name, *model, *expected;
};
void PrintTo(const TalesCase& c, std::ostream* out) { *out << c.name; }

class Tales : public ::testing::TestWithParam<TalesCase> {
 protected:
  void SetUp() override {
    model_ = testing::Repo(GetParam().model);
    expected_ = testing::Repo(GetParam().expected);
    auto json = ReadJsonFile(expected_ + "/expected.json");
    ASSERT_TRUE(json) << json.error().ToString();
    json_ = std::move(*json);
    auto engine = testing::OpenModel(model_);
    ASSERT_TRUE(engine) << engine.error().ToString();
    engine_ = std::move(*engine);
  }
  std::string model_, expected_;
  Json json_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(Tales, Logits) {
  const testing::Golden golden = testing::ReadGolden(expected_ + "/logits.safetensors");
  ASSERT_TRUE(golden.ok());
  testing::ExpectClose(testing::Logits(*engine_, golden.tokens), golden.logits);
}

TEST_P(Tales, GreedyTexts) {
  const auto tokenizer = Tokenizer::Open(model_);
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  ASSERT_EQ(json_["greedy"].size(), 4u);
  for (const Json& golden : json_["greedy"]) {
    const auto prompt = (*tokenizer)->Encode(golden["prompt"].get<std::string>(), true);
    ASSERT_TRUE(prompt);
    EXPECT_EQ(*prompt, golden["prompt_ids"].get<Tokens>());
    const Tokens wanted = golden["greedy_ids"].get<Tokens>();
    const Tokens got = testing::Greedy(*engine_, *prompt, static_cast<int64_t>(wanted.size()));
    EXPECT_EQ(got, wanted);
    const auto text = (*tokenizer)->Decode(got, true);
    ASSERT_TRUE(text);
    EXPECT_EQ(*text, golden["text"].get<std::string>());
  }
}

// Through the program: the same file, options and output that a user sees.
TEST_P(Tales, PerplexityOfABook) {
  const Json& golden = json_["perplexity"];
  NIBBLE_NEED_SHARED(book, "data/" + golden["text"].get<std::string>());
  const auto result = testing::RunProgram(
      fmt::format("eval '{}' --text '{}' --context {} --threads 2 --json", model_, book, golden["context"].get<int64_t>()));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json got = Json::parse(result.output.substr(result.output.find('{')), nullptr, false);
  ASSERT_TRUE(got.is_object()) << result.output;
  EXPECT_EQ(got["tokens"].get<int64_t>(), golden["tokens"].get<int64_t>());
  EXPECT_NEAR(got["perplexity"].get<double>(), golden["value"].get<double>(), 1e-4 * golden["value"].get<double>());
  EXPECT_NEAR(got["stderr"].get<double>(), golden["stderr"].get<double>(), 1e-2 * golden["stderr"].get<double>());
}

// A bundled text, so that the program's eval is tested without the shared data: the model against itself has no divergence.
TEST_P(Tales, DivergenceFromItselfIsZero) {
  testing::TempDir dir;
  std::ofstream text(dir.File("text.txt"));
  for (const Json& golden : json_["greedy"])
    for (int i = 0; i < 3; ++i) text << golden["prompt"].get<std::string>() << golden["text"].get<std::string>() << "\n";
  text.close();
  const auto result = testing::RunProgram(fmt::format(
      "eval '{}' --text '{}' --context 32 --windows 4 --threads 2 --against '{}' --json", model_, dir.File("text.txt"), model_));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json got = Json::parse(result.output.substr(result.output.find('{')), nullptr, false);
  ASSERT_TRUE(got.is_object()) << result.output;
  EXPECT_EQ(got["tokens"].get<int64_t>(), 128);
  EXPECT_LT(got["kl"]["max"].get<double>(), 1e-6);
  EXPECT_EQ(got["top1_agreement"].get<double>(), 1);
  EXPECT_GT(got["perplexity"].get<double>(), 1);
  EXPECT_LT(got["perplexity"].get<double>(), 30);  // its own greedy text
}

INSTANTIATE_TEST_SUITE_P(All, Tales,
                         ::testing::Values(TalesCase{"tales_5m", "models/tales-5m", "tests/data/models/tales-5m-expected"},
                                           TalesCase{"tales_1m", "tests/data/models/tales-1m",
                                                     "tests/data/models/tales-1m/expected"}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace nibble
