// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/gguf_writer.h"
#include "support/paths.h"

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

}  // namespace
}  // namespace nibble
