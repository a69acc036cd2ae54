// SPDX-License-Identifier: Apache-2.0
// Every architecture against logits and greedy continuations that transformers computed in float32 (tests/data/architectures, and
// the larger shared set): in one chunk and in small ones, on one rank and on two.
#include <cstring>
#include <filesystem>
#include <fstream>

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

// Tools that save what transformers 5 has in memory (GPTQModel) call Mixtral's router and experts mlp.*.
TEST(Mixtral, OpensUnderTheNamesOfTransformers5) {
  const std::filesystem::path from = testing::Repo("tests/data/architectures/mixtral"), to = ::testing::TempDir() + "/mixtral-mlp";
  std::filesystem::create_directories(to);
  std::filesystem::copy_file(from / "config.json", to / "config.json", std::filesystem::copy_options::overwrite_existing);
  std::ifstream in(from / "model.safetensors", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  uint64_t size;
  std::memcpy(&size, bytes.data(), 8);
  Json header = *ParseJson(bytes.substr(8, size), "test"), renamed = Json::object();
  for (const auto& [name, tensor] : header.items()) {
    std::string other = name;
    if (const size_t at = name.find("block_sparse_moe."); at != std::string::npos) other.replace(at, 16, "mlp");
    renamed[other] = tensor;
  }
  std::string text = renamed.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t renamed_size = text.size();
  std::ofstream out(to / "model.safetensors", std::ios::binary);
  out.write(reinterpret_cast<const char*>(&renamed_size), 8) << text << bytes.substr(8 + size);
  out.close();
  auto engine = testing::OpenModel(to.string(), TestOptions());
  ASSERT_TRUE(engine) << engine.error().ToString();
  const Golden golden = testing::ReadGolden((from / "expected.safetensors").string());
  testing::ExpectClose(testing::Logits(**engine, golden.tokens), golden.logits);
}

INSTANTIATE_TEST_SUITE_P(All, Architectures,
                         ::testing::Values(Case{"llama-rope3-tied", true}, Case{"mistral", true}, Case{"qwen3", true},
                                           Case{"mixtral", true}, Case{"llama"}, Case{"llama-linear"},
                                           Case{"llama-dynamic", false, true}, Case{"llama-yarn"},
                                           Case{"llama-rope3-tied-v4config"}, Case{"llama-sharded"}, Case{"qwen2"},
                                           Case{"qwen3_moe"}),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace nibble
