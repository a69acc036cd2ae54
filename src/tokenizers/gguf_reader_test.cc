// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/gguf_writer.h"
#include "support/paths.h"

#include "io/mapped_file.h"
#include "support/paths.h"
#include "tokenizers/byte_level.h"
#include "tokenizers/gguf_pre.h"
#include "tokenizers/sentencepiece_file.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

TEST(GgufReader, ReadsTheVocabularyOfARealFile) {
  const auto file = OpenGguf(testing::Repo("tests/data/checkpoints/llamacpp-q2-k/q2-k.gguf")).value();
  const auto vocab = ReadGgufVocab(file.metadata, "f");
  ASSERT_TRUE(vocab) << vocab.error().ToString();
  EXPECT_EQ(vocab->model, "gpt2");
  EXPECT_EQ(vocab->tokens.size(), 512u);
  EXPECT_EQ(vocab->tokens[0], "<|begin_of_text|>");
  EXPECT_EQ(vocab->token_types.size(), 512u);
  EXPECT_EQ(vocab->bos_id, 0);
  EXPECT_EQ(vocab->eos_id, 1);
  EXPECT_FALSE(vocab->merges.empty());
}

TEST(GgufReader, RefusesIdsAndLengthsThatDoNotFit) {
  const auto read = [](const std::function<void(GgufMetadataWriter&)>& add) {
    testing::TempDir dir;
    GgufMetadataWriter keys;
    const std::vector<std::string> tokens = {"a", "b"};
    keys.String("tokenizer.ggml.model", "llama");
    keys.Strings("tokenizer.ggml.tokens", tokens);
    add(keys);
    EXPECT_TRUE(GgufWriter::Create(dir.File("a.gguf"), keys, {}).value().Commit());
    const auto file = OpenGguf(dir.File("a.gguf")).value();
    const auto vocab = ReadGgufVocab(file.metadata, "f");
    return vocab ? std::string("accepted") : vocab.error().message;
  };
  EXPECT_EQ(read([](auto&) {}), "accepted");
  EXPECT_EQ(read([](auto& keys) { keys.U32("tokenizer.ggml.bos_token_id", 0xffffffffu); }), "accepted");
  EXPECT_THAT(read([](auto& keys) { keys.U32("tokenizer.ggml.bos_token_id", 2); }), HasSubstr("outside of the vocabulary of 2"));
  EXPECT_THAT(read([](auto& keys) { keys.I32("tokenizer.ggml.eos_token_id", -7); }), HasSubstr("outside"));
  EXPECT_THAT(read([](auto& keys) { keys.F32s("tokenizer.ggml.scores", std::vector<float>{1}); }),
              HasSubstr("has 1 entries, the vocabulary has 2"));
  EXPECT_THAT(read([](auto& keys) { keys.String("tokenizer.ggml.add_bos_token", "yes"); }), HasSubstr("wanted a bool"));
}

TEST(GgufReader, SaysWhenThereIsNoTokenizer) {
  const auto file = OpenGguf(testing::Repo("tests/data/gguf/tiny-v3-le.gguf")).value();
  EXPECT_EQ(ReadGgufVocab(file.metadata, "f").error().code, Code::kNotFound);
}

// A GGUF file of a unigram model says less than the SentencePiece file it was made of (no byte fallback), and the same of known
// text.
TEST(GgufVocab, UnigramIsThatOfTheSentencePieceFile) {
  const std::string path = testing::Repo("tests/data/tokenizers/made/sentencepiece/tokenizer.model");
  const auto file = ReadSentencePieceFile(*ReadTextFile(path), path);
  ASSERT_TRUE(file) << file.error().ToString();
  GgufVocab vocab{.model = "t5", .tokens = file->pieces, .scores = file->scores, .token_types = file->types};
  vocab.charsmap = file->charsmap;
  vocab.unk_id = file->unk_id;
  vocab.eos_id = file->eos_id;
  const auto gguf = Tokenizer::FromGgufVocab(vocab, "t5.gguf");
  ASSERT_TRUE(gguf) << gguf.error().ToString();
  const auto direct = Tokenizer::Open(path);
  ASSERT_TRUE(direct);
  for (const char* text : {"the cat sat by her sister", "  two  spaces\tand a tab ", "tokenab<sep>cat", ""}) {
    auto want = *(*direct)->Encode(text, false);
    EXPECT_EQ(*(*gguf)->Encode(text, false), want) << text;
    want.push_back(file->eos_id);
    EXPECT_EQ(*(*gguf)->Encode(text, true), want) << text;
  }
}

TEST(GgufVocab, EveryNamedPreTokenizerCutsText) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) AppendByteLevel(std::string(1, static_cast<char>(byte)), tokens.emplace_back());
  std::string names = GgufPreTokenizerNames() + ", ";
  int count = 0;
  for (size_t end = names.find(", "); end != names.npos; names.erase(0, end + 2), end = names.find(", "), ++count) {
    const GgufVocab vocab{.model = "gpt2", .pre = names.substr(0, end), .tokens = tokens};
    const auto tokenizer = Tokenizer::FromGgufVocab(vocab, vocab.pre);
    ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
    const std::string text = "It's 12345 \u6f22\u5b57 na\u00efve\r\n  x";
    const auto ids = (*tokenizer)->Encode(text, false);
    ASSERT_TRUE(ids) << vocab.pre << ids.error().ToString();
    EXPECT_EQ(ids->size(), text.size()) << vocab.pre;  // no merges: a token a byte, none lost
  }
  EXPECT_GT(count, 70);
}

TEST(GgufVocab, MergesPlainText) {
  const GgufVocab vocab{.model = "gemma4",
                        .tokens = {"<bos>", "\u2581", "a", "b", "ab", "\u2581ab", "\n", "\n\n", "<0xC3>", "<0xA9>", "<turn|>"},
                        .token_types = {3, 1, 1, 1, 1, 1, 1, 1, 6, 6, 3},
                        .merges = {"a b", "\u2581 ab", "\n \n"},
                        .bos_id = 0};
  const auto tokenizer = Tokenizer::FromGgufVocab(vocab, "x.gguf");
  ASSERT_TRUE(tokenizer) << tokenizer.error().ToString();
  const std::string text = "ab ab\n\n\u00e9 b\n";
  const auto ids = (*tokenizer)->Encode(text, true);
  ASSERT_TRUE(ids) << ids.error().ToString();
  EXPECT_EQ(*ids, (std::vector<int32_t>{0, 4, 5, 7, 8, 9, 1, 3, 6}));
  EXPECT_EQ((*tokenizer)->Decode(*ids, true).value(), text);
  EXPECT_EQ((*tokenizer)->eos_ids(), std::vector<int32_t>{10});
}

TEST(GgufVocab, KindsWithoutRulesHereAreNamed) {
  for (const char* model : {"rwkv", "plamo2"}) {
    const auto tokenizer = Tokenizer::FromGgufVocab({.model = model, .tokens = {"a"}}, "x.gguf");
    ASSERT_FALSE(tokenizer);
    EXPECT_EQ(tokenizer.error().code, Code::kUnsupported);
    EXPECT_NE(tokenizer.error().message.find(model), std::string::npos);
  }
}

}  // namespace
}  // namespace nibble
