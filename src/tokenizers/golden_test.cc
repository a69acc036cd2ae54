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

void CheckTokenizer(const std::string& tokenizer_path, const std::string& golden, int least = 400) {
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
  EXPECT_GE(records, least);
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

// Small tokenizers of components that no published one here has (made/make.py).
class MadeGolden : public ::testing::TestWithParam<const char*> {};
TEST_P(MadeGolden, IdsAndDecodingsAreExact) {
  const std::string folder = testing::Repo(std::string("tests/data/tokenizers/made/") + GetParam());
  CheckTokenizer(folder + "/tokenizer.json", folder + "/golden.jsonl", 32);
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, MadeGolden,
                         ::testing::Values("unigram-precompiled", "wordpiece-scripts", "bpe-suffix", "bpe-bytes",
                                           "wordlevel-bytes"),
                         [](const auto& test) { return TestName(test.param); });

// The ids of the library that the file is written for.
class MadeModelFile : public ::testing::TestWithParam<const char*> {};
TEST_P(MadeModelFile, IdsAndDecodingsAreThoseOfItsLibrary) {
  const std::string folder = testing::Repo(std::string("tests/data/tokenizers/made/") + GetParam());
  const auto tokenizer = Tokenizer::Open(folder);
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  std::istringstream in(ReadText(folder + "/golden.jsonl"));
  int records = 0;
  for (std::string line; std::getline(in, line); ++records) {
    const auto record = ParseJson(line, folder);
    ASSERT_TRUE(record);
    const auto want = (*record)["ids"].get<Ids>();
    const auto ids = (*tokenizer)->Encode((*record)["text"].get<std::string>(), false);
    ASSERT_TRUE(ids) << ids.error().ToString();
    EXPECT_EQ(*ids, want) << (*record)["text"];
    EXPECT_EQ(*(*tokenizer)->Decode(want, false), (*record)["decoded"].get<std::string>()) << (*record)["text"];
  }
  EXPECT_GE(records, 31);
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, MadeModelFile, ::testing::Values("sentencepiece", "tiktoken"),
                         [](const auto& test) { return TestName(test.param); });

// Folders without tokenizer.json against the golden file of the tokenizer.json beside them.
TEST(SharedModelFile, SentencePieceOfLlama2IsItsTokenizerJson) {
  NIBBLE_NEED_SHARED(model, "data/tokenizers/llama-2/tokenizer.model");
  NIBBLE_NEED_SHARED(golden, "data/goldens/tokenizers/llama-2.jsonl");
  CheckTokenizer(model, golden);
}

void CheckVocabAndMerges(const std::string& from, const std::string& golden, const char* tokenizer_class) {
  namespace fs = std::filesystem;
  testing::TempDir dir;
  for (const char* name : {"vocab.json", "merges.txt"}) fs::copy_file(from + "/" + name, dir.File(name));
  Json added = Json::object();
  const auto json = ReadJsonFile(from + "/tokenizer.json", int64_t{64} << 20);
  ASSERT_TRUE(json);
  for (const Json& token : (*json)["added_tokens"]) added[token["id"].dump()] = token;
  std::ofstream(dir.File("tokenizer_config.json")) << Json{{"tokenizer_class", tokenizer_class}, {"added_tokens_decoder", added}};
  CheckTokenizer(dir.path(), golden);
}

TEST(SharedModelFile, VocabAndMergesOfGpt2AreItsTokenizerJson) {
  NIBBLE_NEED_SHARED(from, "data/tokenizers/gpt-2");
  NIBBLE_NEED_SHARED(golden, "data/goldens/tokenizers/gpt-2.jsonl");
  CheckVocabAndMerges(from, golden, "GPT2Tokenizer");
}

TEST(SharedModelFile, VocabAndMergesOfQwen2AreItsTokenizerJson) {
  NIBBLE_NEED_SHARED(from, "data/tokenizers/qwen2.5");
  NIBBLE_NEED_SHARED(golden, "data/goldens/tokenizers/qwen2.5.jsonl");
  CheckVocabAndMerges(from, golden, "Qwen2Tokenizer");
}

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

class SharedTemplate : public ::testing::TestWithParam<const char*> {};
TEST_P(SharedTemplate, PromptsAndErrorsAreExact) {
  NIBBLE_NEED_SHARED(path, std::string("data/tokenizers/chat-templates/") + GetParam() + ".jinja");
  NIBBLE_NEED_SHARED(golden, std::string("data/goldens/templates/") + GetParam() + ".jsonl");
  CheckTemplate(path, golden);
}
INSTANTIATE_TEST_SUITE_P(
    Templates, SharedTemplate,
    ::testing::Values("Apertus-8B-Instruct", "Apriel-1.6-15b-Thinker-fixed", "ByteDance-Seed-OSS", "Cohere2MoE",
                      "CohereForAI-c4ai-command-r-plus-tool_use", "GLM-4.6", "GigaChat3-10B-A1.8B", "GigaChat3.1-10B-A1.8B",
                      "HuggingFaceTB-SmolLM3-3B", "Kimi-K2-Instruct", "LFM2-8B-A1B", "LFM2.5-8B-A1B", "MiMo-VL", "MiniMax-M2",
                      "Mistral-Small-3.2-24B-Instruct-2506", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
                      "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
                      "Qwen-QwQ-32B", "Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "Qwen3.5-4B", "Reka-Edge",
                      "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
                      "deepseek-ai-DeepSeek-V3.2", "deepseek-ai-DeepSeek-V4", "deepseek-ai-DeepSeek-V4-Flash-0731",
                      "fireworks-ai-llama-3-firefunction-v2", "google-gemma-2-2b-it", "google-gemma-4-31B-it-interleaved",
                      "ibm-granite-granite-3.3-2B-Instruct", "ibm-granite-granite-4.0", "llama-cpp-deepseek-r1",
                      "llama-cpp-rwkv-world", "meetkai-functionary-medium-v3.1", "meta-llama-Llama-3.1-8B-Instruct",
                      "meta-llama-Llama-3.3-70B-Instruct", "microsoft-Phi-3.5-mini-instruct",
                      "mistralai-Ministral-3-14B-Reasoning-2512", "moonshotai-Kimi-K2", "openai-gpt-oss-120b",
                      "openbmb-MiniCPM5-1B", "poolside-Laguna-S-2.1", "poolside-Laguna-XS-2.1",
                      "unsloth-mistral-Devstral-Small-2507", "upstage-Solar-Open-100B"),
    [](const auto& test) { return TestName(test.param); });

// No golden file is left out of the lists above.
TEST(SharedTemplates, EveryGoldenFileHasItsTest) {
  NIBBLE_NEED_SHARED(goldens, "data/goldens");
  const auto count = [](const std::string& folder) {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) files += entry.path().extension() == ".jsonl";
    return files;
  };
  EXPECT_EQ(count(goldens + "/templates"), 47);
  EXPECT_EQ(count(goldens + "/tokenizers"), 11);
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
                         ::testing::Values("bert-bge", "deepseek-coder", "falcon", "gpt-2", "llama-spm", "phi-3", "starcoder"),
                         [](const auto& test) { return TestName(test.param); });

}  // namespace
}  // namespace nibble
