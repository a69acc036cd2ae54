// SPDX-License-Identifier: Apache-2.0
// Ids, decodings and prompts of the reference libraries, record by record (tests/data/tokenizers/PROVENANCE.md).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "io/json.h"
#include "support/paths.h"
#include "tokenizers/chat_template.h"
#include "tokenizers/stream_decoder.h"
#include "tokenizers/tokenizer.h"

namespace nibble {
namespace {

using Ids = std::vector<int32_t>;
constexpr int kMaxShown = 5;  // wrong records that a failing test describes

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string Stream(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder decoder(tokenizer, true);
  std::string text;
  for (const int32_t id : ids) text += decoder.Push(id);
  return text + decoder.Flush();
}

// What is wrong with one record; empty when nothing is.
std::string Differences(const Tokenizer& tokenizer, const Json& record) {
  const auto text = record["text"].get<std::string>();
  const auto want = record["ids"].get<Ids>();
  const auto ids = tokenizer.Encode(text, true), bare = tokenizer.Encode(text, false);
  const auto skipped = tokenizer.Decode(want, true), kept = tokenizer.Decode(want, false);
  std::string wrong;
  if (!ids || *ids != want) wrong += " ids";
  if (!bare || *bare != record["ids_no_special"].get<Ids>()) wrong += " ids_no_special";
  if (!skipped || *skipped != record["decoded_skip_special"].get<std::string>()) wrong += " decoded_skip_special";
  if (!kept || *kept != record["decoded_with_special"].get<std::string>()) wrong += " decoded_with_special";
  if (skipped && Stream(tokenizer, want) != *skipped) wrong += " streamed";
  return wrong;
}

void CheckTokenizer(const std::string& tokenizer_path, const std::string& golden) {
  const auto tokenizer = Tokenizer::Open(tokenizer_path);
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  std::istringstream in(ReadText(golden));
  int records = 0, wrong = 0;
  for (std::string line; std::getline(in, line); ++records) {
    const auto record = ParseJson(line, golden);
    ASSERT_TRUE(record);
    const std::string differences = Differences(**tokenizer, *record);
    if (!differences.empty() && ++wrong <= kMaxShown) ADD_FAILURE() << (*record)["text"] << ":" << differences;
  }
  EXPECT_GT(records, 400);
  EXPECT_EQ(wrong, 0) << "of " << records;
}

void CheckTemplate(const std::string& path, const std::string& golden) {
  const auto chat = ChatTemplate::Parse(ReadText(path), path);
  ASSERT_TRUE(chat) << chat.error().ToString();
  RenderOptions options;
  options.now = *ParseTime("2024-07-26");
  options.locate_errors = false;
  std::istringstream in(ReadText(golden));
  int records = 0, wrong = 0;
  for (std::string line; std::getline(in, line); ++records) {
    const auto record = ParseOrderedJson(line, golden);
    ASSERT_TRUE(record);
    const auto text = chat->Render(*VariablesOfRecord(*record), options);
    const bool fails = record->contains("error");
    const auto want = (*record)[fails ? "error" : "rendered"].get<std::string>();
    const std::string got = text ? *text : text.error().message;
    if (text.has_value() != fails && got == want) continue;
    if (++wrong <= kMaxShown) ADD_FAILURE() << (*record)["case"] << "\n got: " << got << "\nwant: " << want;
  }
  EXPECT_GT(records, 70);
  EXPECT_EQ(wrong, 0) << "of " << records;
}

std::string TestName(std::string name) {
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

class StoredGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(StoredGolden, IdsAndDecodingsAreExact) {
  const std::string folder = testing::Repo(std::string("tests/data/tokenizers/") + GetParam());
  CheckTokenizer(folder, folder + "/golden.jsonl");
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, StoredGolden, ::testing::Values("gpt-2", "llama-2"),
                         [](const auto& test) { return TestName(test.param); });

class SharedGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(SharedGolden, IdsAndDecodingsAreExact) {
  NIBBLE_NEED_SHARED(tokenizer, std::string("data/tokenizers/") + GetParam() + "/tokenizer.json");
  NIBBLE_NEED_SHARED(golden, std::string("data/goldens/tokenizers/") + GetParam() + ".jsonl");
  CheckTokenizer(tokenizer, golden);
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, SharedGolden,
                         ::testing::Values("llama-2-metaspace", "llama-3", "qwen2.5", "mistral-v3", "phi-3", "falcon", "starcoder2",
                                           "deepseek-coder", "bert-bge"),
                         [](const auto& test) { return TestName(test.param); });

class StoredTemplate : public ::testing::TestWithParam<const char*> {};
TEST_P(StoredTemplate, PromptsAndErrorsAreExact) {
  const std::string base = testing::Repo(std::string("tests/data/tokenizers/templates/") + GetParam());
  CheckTemplate(base + ".jinja", base + ".jsonl");
}
INSTANTIATE_TEST_SUITE_P(Templates, StoredTemplate,
                         ::testing::Values("meta-llama-Llama-3.1-8B-Instruct", "Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B"),
                         [](const auto& test) { return TestName(test.param); });

TEST(SharedTemplates, PromptsAndErrorsOfAllAreExact) {
  NIBBLE_NEED_SHARED(templates, "data/tokenizers/chat-templates");
  NIBBLE_NEED_SHARED(goldens, "data/goldens/templates");
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(templates)) {
    SCOPED_TRACE(entry.path().stem().string());
    CheckTemplate(entry.path(), goldens + "/" + entry.path().stem().string() + ".jsonl");
    ++checked;
  }
  EXPECT_GE(checked, 47);
}

class SharedGguf : public ::testing::TestWithParam<const char*> {};
TEST_P(SharedGguf, IdsAreThoseOfLlamaCpp) {
  NIBBLE_NEED_SHARED(path, std::string("data/tokenizers/vocab-gguf/ggml-vocab-") + GetParam() + ".gguf");
  const auto tokenizer = Tokenizer::Open(path);
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  const std::string texts = ReadText(path + ".inp");
  std::istringstream out(ReadText(path + ".out"));
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  int records = 0;
  for (size_t begin = 0; begin < texts.size(); ++records) {
    const size_t end = std::min(texts.find(kSeparator, begin), texts.size());
    std::string line;
    ASSERT_TRUE(std::getline(out, line));
    std::istringstream numbers(line);
    const Ids want{std::istream_iterator<int32_t>(numbers), {}};
    const auto ids = (*tokenizer)->Encode(texts.substr(begin, end - begin), false);
    ASSERT_TRUE(ids);
    EXPECT_EQ(*ids, want) << texts.substr(begin, end - begin);
    begin = end + kSeparator.size();
  }
  EXPECT_GE(records, 46);
}
INSTANTIATE_TEST_SUITE_P(Vocabularies, SharedGguf,
                         ::testing::Values("deepseek-coder", "falcon", "gpt-2", "llama-spm", "phi-3", "starcoder"),
                         [](const auto& test) { return TestName(test.param); });

}  // namespace
}  // namespace nibble
