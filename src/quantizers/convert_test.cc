// SPDX-License-Identifier: Apache-2.0
#include "quantizers/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/mapped_file.h"
#include "quantizers/pipeline.h"
#include "quantizers/source_model.h"
#include "support/paths.h"
#include "tokenizers/gguf_reader.h"
#include "tokenizers/tokenizer.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

std::unique_ptr<Checkpoint> OpenConverted(const std::string& path) {
  auto checkpoint = Checkpoint::Open(path, path.ends_with(".gguf") ? CheckpointKind::kGguf : CheckpointKind::kHubFolder);
  EXPECT_TRUE(checkpoint) << checkpoint.error().ToString();
  return checkpoint ? std::move(*checkpoint) : nullptr;
}

Result<ConvertReport> Convert(const std::string& from, const std::string& to, const std::string& dtype, bool force = false) {
  const auto source = OpenConverted(from);
  return ConvertModel(*source, to,
                      {.target = to.ends_with(".gguf") ? ConvertOptions::kGguf : ConvertOptions::kSafetensors,
                       .dtype = dtype,
                       .threads = 2,
                       .force = force});
}

// Every module and vector of both, bit for bit.
void ExpectSame(const std::string& a, const std::string& b) {
  const auto first = OpenConverted(a), second = OpenConverted(b);
  const SourceModel model = ReadSourceModel(*first).value();
  ThreadTeam team(1);
  for (const SourceModule& module : model.modules) {
    const auto x = BindModule(*first, module), y = BindModule(*second, module);
    ASSERT_TRUE(x && y) << module.name;
    EXPECT_EQ(SummarizeDecoded(*x->weight, nullptr, team).hash, SummarizeDecoded(*y->weight, nullptr, team).hash) << module.name;
  }
  for (const VectorSpec& spec : model.vectors)
    EXPECT_EQ(first->Vector(spec.name, spec.size).value(), second->Vector(spec.name, spec.size).value()) << spec.name;
}

const std::string kConvertTales = testing::Repo("tests/data/models/tales-1m");
const std::string kConvertStories = testing::Repo("tests/data/models/stories260K");

TEST(Convert, ThereAndBack) {
  for (const std::string& model : {kConvertTales, kConvertStories}) {
    testing::TempDir dir;
    const std::string dtype = model == kConvertTales ? "bf16" : "f32";
    const auto gguf = Convert(model, dir.File("a.gguf"), "f32");
    ASSERT_TRUE(gguf) << gguf.error().ToString();
    EXPECT_TRUE(gguf->tokenizer);
    EXPECT_EQ(gguf->mean_relative_error, 0);
    ExpectSame(model, dir.File("a.gguf"));
    const auto back = Convert(dir.File("a.gguf"), dir.File("back"), dtype);
    ASSERT_TRUE(back) << back.error().ToString();
    EXPECT_TRUE(back->tokenizer);
    ExpectSame(model, dir.File("back"));
    EXPECT_EQ(ReadTextFile(dir.File("back/model.safetensors")).value().size(),
              ReadTextFile(model + "/model.safetensors").value().size());
  }
}

TEST(Convert, TokenizersGiveTheSameIds) {
  for (const std::string& model : {kConvertTales, kConvertStories, testing::Repo("models/tales-5m")}) {
    testing::TempDir dir;
    ASSERT_TRUE(Convert(model, dir.File("a.gguf"), "bf16"));
    const auto hub = Tokenizer::Open(model), gguf = OpenGgufTokenizer(dir.File("a.gguf"));
    ASSERT_TRUE(hub && gguf) << model;
    EXPECT_EQ((*hub)->bos_id(), (*gguf)->bos_id());
    for (const char* text : {"Once upon a time, there was a little cat.", "  two  spaces\n\nand 12345 lines\t",
                             "caf\xc3\xa9 \xf0\x9f\x90\xb1 don't", "", "x"})
      EXPECT_EQ((*hub)->Encode(text, true).value(), (*gguf)->Encode(text, true).value()) << model << ": " << text;
  }
}

TEST(Convert, SmallerTypes) {
  testing::TempDir dir;
  for (const char* dtype : {"f16", "bf16", "q8_0"}) {
    const auto report = Convert(kConvertTales, dir.File(std::string(dtype) + ".gguf"), dtype);
    ASSERT_TRUE(report) << report.error().ToString();
    EXPECT_LT(report->mean_relative_error, 0.01);
  }
  const auto ragged = Convert(kConvertStories, dir.File("stories.gguf"), "q8_0");  // rows of 172 become f16
  EXPECT_TRUE(ragged) << ragged.error().ToString();
}

TEST(Convert, DecodesQuantizedModels) {
  testing::TempDir dir;
  const auto source = OpenConverted(kConvertTales);
  ASSERT_TRUE(QuantizeModel(*source, dir.File("q"), {.scheme = ParseScheme("W4A16").value(), .threads = 2}));
  ASSERT_TRUE(Convert(dir.File("q"), dir.File("floats"), "f32"));
  ExpectSame(dir.File("q"), dir.File("floats"));
  const auto floats = OpenConverted(dir.File("floats"));
  EXPECT_FALSE(floats->config().contains("quantization_config"));
  EXPECT_EQ(floats->config()["dtype"], "float32");
  EXPECT_TRUE(std::filesystem::exists(dir.File("floats/tokenizer.json")));
  EXPECT_FALSE(std::filesystem::exists(dir.File("floats/nibble_quantization.json")));
}

TEST(Convert, RefusesClearly) {
  testing::TempDir dir;
  ASSERT_TRUE(Convert(kConvertTales, dir.File("a.gguf"), "bf16"));
  EXPECT_EQ(Convert(kConvertTales, dir.File("a.gguf"), "bf16").error().code, Code::kUsage);
  EXPECT_TRUE(Convert(kConvertTales, dir.File("a.gguf"), "f16", true));
  EXPECT_EQ(Convert(kConvertTales, dir.File("b"), "q8_0").error().code, Code::kUsage);
  EXPECT_EQ(Convert(dir.File("a.gguf"), dir.File("a.gguf"), "", true).error().code, Code::kUsage);
  EXPECT_FALSE(std::filesystem::exists(dir.File("a.gguf.partial")));
}

class OtherArchitectures : public ::testing::TestWithParam<const char*> {};
TEST_P(OtherArchitectures, SurviveGguf) {
  NIBBLE_NEED_SHARED(folder, std::string("data/architectures/") + GetParam());
  testing::TempDir dir;
  const auto report = Convert(folder, dir.File("a.gguf"), "f32");
  ASSERT_TRUE(report) << report.error().ToString();
  ExpectSame(folder, dir.File("a.gguf"));
  ASSERT_TRUE(Convert(dir.File("a.gguf"), dir.File("back"), "f32"));
  ExpectSame(folder, dir.File("back"));
}
INSTANTIATE_TEST_SUITE_P(All, OtherArchitectures,
                         ::testing::Values("mixtral", "qwen2", "qwen3", "mistral", "llama", "llama-rope3-tied", "llama-yarn",
                                           "llama-linear", "llama-sharded"));

TEST(Convert, SaysWhichRopeCannotBeSaid) {
  NIBBLE_NEED_SHARED(folder, "data/architectures/llama-dynamic");
  testing::TempDir dir;
  const auto report = Convert(folder, dir.File("a.gguf"), "");
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kUnsupported);
  EXPECT_THAT(report.error().message, HasSubstr("dynamic"));
}

}  // namespace
}  // namespace nibble
