// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_hub_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/mapped_file.h"
#include "support/paths.h"
#include "tokenizers/gguf_reader.h"

namespace nibble {
namespace {

// The hub files of a GGUF vocabulary encode and decode as the vocabulary itself.
void ExpectSameTokens(const std::string& gguf) {
  SCOPED_TRACE(gguf);
  const auto file = OpenGguf(gguf);
  ASSERT_TRUE(file) << file.error().ToString();
  const auto vocab = ReadGgufVocab(file->metadata, gguf);
  ASSERT_TRUE(vocab) << vocab.error().ToString();
  const auto direct = Tokenizer::FromGgufVocab(*vocab, gguf);
  if (!direct) {
    EXPECT_EQ(direct.error().code, Code::kUnsupported) << direct.error().ToString();
    EXPECT_EQ(HubFilesOfGgufVocab(*vocab, gguf).error().code, Code::kUnsupported);
    return;
  }
  const auto files = HubFilesOfGgufVocab(*vocab, gguf);
  ASSERT_TRUE(files) << files.error().ToString();
  testing::TempDir dir;
  for (const auto& [name, text] : *files) std::ofstream(dir.File(name)) << text;
  const auto hub = Tokenizer::FromHubFolder(dir.path());
  ASSERT_TRUE(hub) << hub.error().ToString();
  EXPECT_EQ((*hub)->vocab_size(), (*direct)->vocab_size());
  EXPECT_EQ((*hub)->eos_ids(), (*direct)->eos_ids());
  EXPECT_EQ((*hub)->bos_id(), (*direct)->bos_id());
  const std::string alice = *ReadTextFile(testing::Repo("models/text/alice.txt"));
  for (const std::string& text :
       {alice.substr(0, 50000), std::string("  two spaces\n\n\ttab 12345 caf\u00e9 \u4f60\u597d \U0001f600 don't"),
        std::string()}) {
    const auto wanted = (*direct)->Encode(text, true);
    const auto found = (*hub)->Encode(text, true);
    ASSERT_TRUE(wanted && found);
    EXPECT_EQ(*found, *wanted);
    EXPECT_EQ((*hub)->Decode(*found, true).value(), (*direct)->Decode(*wanted, true).value());
  }
}

TEST(GgufHubFiles, SayTheSameAsTheVocabularyOfASmallFile) {
  ExpectSameTokens(testing::Repo("tests/data/checkpoints/llamacpp-q2-k/q2-k.gguf"));
}

TEST(GgufHubFiles, SayTheSameAsTheVocabulariesOfRealModels) {
  NIBBLE_NEED_SHARED(folder, "data/tokenizers/vocab-gguf");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".gguf") ExpectSameTokens(entry.path().string());
  }
}

}  // namespace
}  // namespace nibble
