// SPDX-License-Identifier: Apache-2.0
// Ids and decodings of the `tokenizers` library, record by record (tests/data/tokenizers/PROVENANCE.md), and speed on real text.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "io/json.h"
#include "support/paths.h"
#include "tokenizers/stream_decoder.h"
#include "tokenizers/tokenizer.h"

namespace nibble {
namespace {

std::string Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer, true);
  std::string text;
  for (const int32_t id : ids) text += decoder.Push(id);
  return text + decoder.Flush();
}

// Every record of `golden` must match exactly.
void CheckGolden(const std::string& tokenizer_path, const std::string& golden) {
  const auto made = Tokenizer::Open(tokenizer_path);
  ASSERT_TRUE(made) << made.error().ToString();
  const Tokenizer& tokenizer = **made;
  std::ifstream in(golden);
  ASSERT_TRUE(in) << golden;
  int records = 0, wrong = 0;
  for (std::string line; std::getline(in, line); ++records) {
    const auto record = ParseJson(line, golden);
    ASSERT_TRUE(record);
    const auto text = (*record)["text"].get<std::string>();
    const auto want = (*record)["ids"].get<std::vector<int32_t>>();
    const auto ids = tokenizer.Encode(text, true);
    const auto bare = tokenizer.Encode(text, false);
    ASSERT_TRUE(ids && bare);
    bool same = *ids == want && *bare == (*record)["ids_no_special"].get<std::vector<int32_t>>();
    EXPECT_EQ(*ids, want) << text;
    EXPECT_EQ(*bare, (*record)["ids_no_special"].get<std::vector<int32_t>>()) << text;
    const auto skipped = tokenizer.Decode(want, true), kept = tokenizer.Decode(want, false);
    ASSERT_TRUE(skipped && kept);
    same &= *skipped == (*record)["decoded_skip_special"] && *kept == (*record)["decoded_with_special"];
    EXPECT_EQ(*skipped, (*record)["decoded_skip_special"].get<std::string>()) << text;
    EXPECT_EQ(*kept, (*record)["decoded_with_special"].get<std::string>()) << text;
    EXPECT_EQ(Stream(tokenizer, want), *skipped) << text;
    wrong += !same;
    if (wrong > 12) FAIL() << "too many wrong";
  }
  EXPECT_GT(records, 400);
  EXPECT_EQ(wrong, 0) << "of " << records;
}

class SharedGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedGolden, IdsAndDecodingsAreExact) {
  NIBBLE_NEED_SHARED(tokenizer, std::string("data/tokenizers/") + GetParam() + "/tokenizer.json");
  NIBBLE_NEED_SHARED(golden, std::string("data/goldens/tokenizers/") + GetParam() + ".jsonl");
  CheckGolden(tokenizer, golden);
}

INSTANTIATE_TEST_SUITE_P(All, SharedGolden,
                         ::testing::Values("gpt-2", "llama-2", "llama-2-metaspace", "llama-3", "qwen2.5", "mistral-v3", "phi-3", "falcon",
                                           "starcoder2", "deepseek-coder", "bert-bge"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace nibble
