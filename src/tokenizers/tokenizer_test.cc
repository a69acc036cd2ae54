// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "support/paths.h"
#include "tokenizers/hub_config.h"
#include "tokenizers/stream_decoder.h"

namespace nibble {
namespace {

using Ids = std::vector<int32_t>;

constexpr const char* kSmall = R"({
  "added_tokens": [{"id": 9, "content": "<eos>", "special": true}, {"id": 8, "content": "<tool>", "special": false}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "decoder": {"type": "ByteLevel"},
  "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<eos>"}}, {"Sequence": {"id": "A"}}],
                     "special_tokens": {"<eos>": {"ids": [9]}}},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 4}, "merges": ["a b"]}})";

TEST(Tokenizer, AddsSpecialTokensOnlyWhenAsked) {
  const auto tokenizer = Tokenizer::FromTokenizerJson(kSmall, "small");
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  EXPECT_EQ(*(*tokenizer)->Encode("ab b", true), (Ids{9, 2, 4, 1}));
  EXPECT_EQ(*(*tokenizer)->Encode("ab<eos>a", false), (Ids{2, 9, 0}));
  EXPECT_EQ(*(*tokenizer)->Decode(Ids{9, 2, 8}, true), "ab<tool>");
  EXPECT_EQ(*(*tokenizer)->Decode(Ids{9, 2, 8}, false), "<eos>ab<tool>");
  EXPECT_TRUE((*tokenizer)->IsSpecial(9) && !(*tokenizer)->IsSpecial(8));
  EXPECT_EQ((*tokenizer)->FindToken("<tool>"), 8);
  EXPECT_EQ((*tokenizer)->vocab_size(), 10);
}

TEST(Tokenizer, SaysWhichIdHasNoToken) {
  const auto tokenizer = Tokenizer::FromTokenizerJson(kSmall, "small");
  const auto hole = (*tokenizer)->Decode(Ids{0, 3}, true);
  ASSERT_FALSE(hole);
  EXPECT_NE(hole.error().message.find("id 3 (number 1 of 2)"), std::string::npos) << hole.error().message;
  EXPECT_FALSE((*tokenizer)->Decode(Ids{10}, true));
  EXPECT_FALSE((*tokenizer)->Decode(Ids{-1}, true));
}

TEST(Tokenizer, NamesWhatItDoesNotKnow) {
  for (const auto& [text, named] : {std::pair<const char*, const char*>{R"({"model": {"type": "Oracle"}})", "Oracle"},
                                    {R"({"pre_tokenizer": {"type": "Dice"}, "model": {}})", "Dice"},
                                    {R"({"decoder": {"type": "Tea"}, "model": {}})", "Tea"}}) {
    const auto tokenizer = Tokenizer::FromTokenizerJson(text, "x.json");
    ASSERT_FALSE(tokenizer);
    EXPECT_EQ(tokenizer.error().code, Code::kUnsupported);
    EXPECT_NE(tokenizer.error().message.find(named), std::string::npos);
    EXPECT_NE(tokenizer.error().message.find("x.json"), std::string::npos);
  }
}

TEST(Tokenizer, RefusesPostProcessorIdsWithoutToken) {
  std::string text = kSmall;
  text.replace(text.find("[9]"), 3, "[7]");
  EXPECT_FALSE(Tokenizer::FromTokenizerJson(text, "small"));
}

TEST(StreamDecoder, HoldsBackUnfinishedCharacters) {
  const auto tokenizer = Tokenizer::Open(testing::Repo("tests/data/tokenizers/gpt-2"));
  ASSERT_TRUE(tokenizer);
  const std::string text = "Caf\u00e9 \U0001F600 \u4f60!";
  StreamDecoder decoder(**tokenizer, true);
  std::string out;
  const auto ids = *(*tokenizer)->Encode(text, false);
  for (const int32_t id : ids) {
    const std::string part = decoder.Push(id);
    EXPECT_EQ(part.find("\uFFFD"), std::string::npos);
    out += part;
  }
  EXPECT_EQ(out + decoder.Flush(), text);
  const auto emoji = *(*tokenizer)->Encode("\U0001F600", false);
  EXPECT_EQ(decoder.Push(emoji[0]), "");
  EXPECT_EQ(decoder.Flush(), "\uFFFD");
  EXPECT_EQ(decoder.Push(70'000), "") << "an id without a token gives no text";
}

TEST(HubConfig, FindsTokensEndsAndTemplate) {
  const testing::TempDir dir;
  std::ofstream(dir.File("tokenizer.json")) << kSmall;
  std::ofstream(dir.File("tokenizer_config.json"))
      << R"({"bos_token": null, "eos_token": {"content": "<eos>"}, "chat_template": [{"name": "default", "template": "D"}, {"name": "rag", "template": "R"}]})";
  std::ofstream(dir.File("generation_config.json")) << R"({"eos_token_id": [9, 8]})";
  const auto tokenizer = Tokenizer::FromHubFolder(dir.path());
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  EXPECT_EQ((*tokenizer)->eos_ids(), (Ids{9, 8}));
  EXPECT_EQ((*tokenizer)->bos_id(), -1);
  auto config = ReadHubTokenizerConfig(dir.path());
  ASSERT_TRUE(config);
  EXPECT_EQ(config->chat_template, "D");
  EXPECT_EQ(config->named_templates.size(), 2u);
  std::ofstream(dir.File("chat_template.jinja")) << "J";
  EXPECT_EQ(ReadHubTokenizerConfig(dir.path())->chat_template, "J");
}

TEST(GgufVocab, BuildsByteLevelTokenizer) {
  GgufVocab vocab{
      .model = "gpt2", .pre = "qwen2", .tokens = {"a", "b", "ab", "<|im_end|>"}, .token_types = {1, 1, 1, 3}, .merges = {"a b"}};
  vocab.eos_id = 3;
  const auto tokenizer = Tokenizer::FromGgufVocab(vocab, "test");
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  EXPECT_EQ(*(*tokenizer)->Encode("ab<|im_end|>", true), (Ids{2, 3}));
  EXPECT_EQ((*tokenizer)->eos_ids(), (Ids{3}));
  vocab.pre = "unheard-of";
  const auto unknown = Tokenizer::FromGgufVocab(vocab, "test");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kUnsupported);
  vocab.model = "rwkv";
  EXPECT_FALSE(Tokenizer::FromGgufVocab(vocab, "test"));
}

}  // namespace
}  // namespace nibble
