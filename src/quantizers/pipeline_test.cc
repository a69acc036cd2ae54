// SPDX-License-Identifier: Apache-2.0
#include "quantizers/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "quantizers/source_model.h"
#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::unique_ptr<Checkpoint> OpenQuantized(const std::string& path) {
  auto checkpoint = Checkpoint::Open(path, path.ends_with(".gguf") ? CheckpointKind::kGguf : CheckpointKind::kHubFolder);
  EXPECT_TRUE(checkpoint) << checkpoint.error().ToString();
  return checkpoint ? std::move(*checkpoint) : nullptr;
}

QuantizeOptions Options(const char* scheme, int64_t group = 0) {
  QuantizeOptions options{.scheme = ParseScheme(scheme).value(), .threads = 2, .source_name = "source"};
  if (group != 0) {
    EXPECT_TRUE(SetGroupSize(group, &options.scheme));
  }
  return options;
}

Result<QuantizeReport> Quantize(const std::string& model, const std::string& out, const QuantizeOptions& options) {
  const auto source = OpenQuantized(model);
  return QuantizeModel(*source, out, options);
}

std::string Bytes(const std::string& path) { return ReadTextFile(path).value(); }
std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

const std::string kPipelineTales = testing::Repo("tests/data/models/tales-1m");
const std::string kPipelineStories = testing::Repo("tests/data/models/stories260K");

class EveryScheme : public ::testing::TestWithParam<const char*> {};
TEST_P(EveryScheme, IsWrittenAndReadBack) {
  testing::TempDir dir;
  const auto report = Quantize(kPipelineTales, dir.File("out"), Options(GetParam()));
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_EQ(report->modules.size(), 14u);
  EXPECT_EQ(report->left_alone, 2);  // embedding and head
  const auto source = OpenQuantized(kPipelineTales), written = OpenQuantized(dir.File("out"));
  EXPECT_EQ(written->quantization().name(), "compressed_tensors");
  const SourceModel model = ReadSourceModel(*written).value();
  for (const SourceModule& module : model.modules) {
    const auto part = BindModule(*written, module), original = BindModule(*source, module);
    ASSERT_TRUE(part && original);
    std::vector<float> reference(static_cast<size_t>(module.n * module.k));
    DecodeRows(*original->weight, {0, module.n}, {0, module.k}, reference.data());
    ThreadTeam team(1);
    const DecodedSummary summary = SummarizeDecoded(*part->weight, reference.data(), team);
    const bool kept = module.role != ModuleRole::kLinear;
    EXPECT_EQ(kept, summary.error2 == 0) << module.name;
    EXPECT_LT(summary.error2, 0.25 * summary.norm2) << module.name;
  }
  EXPECT_TRUE(BuildGraph(ConfigOf(*written, {}).value(), 0, 1));
  EXPECT_EQ(Bytes(dir.File("out/tokenizer.json")), Bytes(kPipelineTales + "/tokenizer.json"));
  EXPECT_EQ(Bytes(dir.File("out/chat_template.jinja")), Bytes(kPipelineTales + "/chat_template.jinja"));
  EXPECT_FALSE(fs::exists(dir.File("out/expected")));
  EXPECT_EQ(ReadJsonFile(dir.File("out/nibble_quantization.json")).value()["scheme"], GetParam());
  EXPECT_THAT(Names(dir.path()), ::testing::ElementsAre("out"));
}
INSTANTIATE_TEST_SUITE_P(All, EveryScheme,
                         ::testing::Values("W4A16", "W4A16_ASYM", "W8A16", "W8A8", "FP8_DYNAMIC", "FP8_BLOCK", "W3A16", "W2A16",
                                           "W5A16", "W4A8", "W4AFP8"));

TEST(Pipeline, ThreadsDoNotChangeABit) {
  testing::TempDir dir;
  QuantizeOptions options = Options("W4A16");
  ASSERT_TRUE(Quantize(kPipelineTales, dir.File("two"), options));
  options.threads = 1;
  ASSERT_TRUE(Quantize(kPipelineTales, dir.File("one"), options));
  for (const char* name : {"model.safetensors", "config.json", "nibble_quantization.json"})
    EXPECT_EQ(Bytes(dir.File("one/") + name), Bytes(dir.File("two/") + name)) << name;
}

TEST(Pipeline, ShardsLargeModels) {
  testing::TempDir dir;
  QuantizeOptions options = Options("W4A16");
  options.max_shard_bytes = 400'000;
  ASSERT_TRUE(Quantize(kPipelineTales, dir.File("out"), options));
  EXPECT_TRUE(fs::exists(dir.File("out/model.safetensors.index.json")));
  options.max_shard_bytes = int64_t{5} << 30;
  const auto again = Quantize(dir.File("out"), dir.File("again"), options);  // a sharded, quantized source
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_LT(again->mean_relative_error, 0.02);
  EXPECT_EQ(OpenQuantized(dir.File("again"))->tensors().total_bytes(), OpenQuantized(dir.File("out"))->tensors().total_bytes());
}

TEST(Pipeline, IgnoresWhatItIsTold) {
  testing::TempDir dir;
  QuantizeOptions options = Options("W4A16");
  options.ignore = {".*down_proj", "re:model\\.layers\\.0\\.self_attn"};
  const auto report = Quantize(kPipelineTales, dir.File("out"), options);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_EQ(report->modules.size(), 14u - 2 - 4);
  const auto written = OpenQuantized(dir.File("out"));
  EXPECT_TRUE(written->Has("model.layers.1.mlp.down_proj.weight"));
  EXPECT_TRUE(written->Has("model.layers.1.self_attn.q_proj.weight_packed"));
  const Json ignore = written->config()["quantization_config"]["ignore"];
  EXPECT_THAT(ignore.get<std::vector<std::string>>(), ::testing::Contains("model.layers.0.self_attn.o_proj"));
  options.ignore = {"down_proj"};
  const auto nothing = Quantize(kPipelineTales, dir.File("none"), options);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Code::kUsage);
  EXPECT_THAT(nothing.error().message, HasSubstr("matches no module"));
}

TEST(Pipeline, DoesNotReplaceWithoutForce) {
  testing::TempDir dir;
  ASSERT_TRUE(Quantize(kPipelineTales, dir.File("out"), Options("W4A16")));
  QuantizeOptions options = Options("W8A16");
  EXPECT_EQ(Quantize(kPipelineTales, dir.File("out"), options).error().code, Code::kUsage);
  options.force = true;
  EXPECT_TRUE(Quantize(kPipelineTales, dir.File("out"), options));
  EXPECT_EQ(ReadJsonFile(dir.File("out/nibble_quantization.json")).value()["scheme"], "W8A16");
  fs::create_directory(dir.File("mine"));
  ASSERT_TRUE(WriteFileAtomically(dir.File("mine/letter.txt"), "dear"));
  EXPECT_EQ(Quantize(kPipelineTales, dir.File("mine"), options).error().code, Code::kUsage);
  EXPECT_EQ(Bytes(dir.File("mine/letter.txt")), "dear");
  EXPECT_EQ(Quantize(kPipelineTales, kPipelineTales, options).error().code, Code::kUsage);
  EXPECT_EQ(Quantize(dir.File("out"), dir.File("out"), options).error().code, Code::kUsage);
  EXPECT_THAT(Names(dir.path()), ::testing::UnorderedElementsAre("out", "mine"));
  EXPECT_EQ(Quantize(kPipelineTales, dir.File("no/such/parent"), options).error().code, Code::kUsage);
}

TEST(Pipeline, LeavesNothingWhenStopped) {
  testing::TempDir dir;
  class StopSoon : public Progress {
   public:
    void Update(std::string_view what, int64_t, int64_t) override { StopRequested() = what == stage; }
    std::string stage;
  };
  for (const char* stage : {"quantizing", "checking"}) {
    StopSoon progress;
    progress.stage = stage;
    const auto source = OpenQuantized(kPipelineTales);
    const auto report = QuantizeModel(*source, dir.File("out"), Options("W4A16"), &progress);
    StopRequested() = false;
    ASSERT_FALSE(report) << stage;
    EXPECT_EQ(report.error().code, Code::kCancelled);
    EXPECT_TRUE(fs::is_empty(dir.path())) << stage;
  }
}

TEST(Pipeline, RaggedRows) {
  testing::TempDir dir;
  const auto refused = Quantize(kPipelineStories, dir.File("out"), Options("W4A16", 64));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUsage);
  EXPECT_THAT(refused.error().message, HasSubstr("\"model.layers.0.mlp.down_proj\" (and 4 more): rows of 172"));
  QuantizeOptions options = Options("W4A16", 32);
  options.ragged = Ragged::kChannel;
  ASSERT_TRUE(Quantize(kPipelineStories, dir.File("channel"), options));
  const auto written = OpenQuantized(dir.File("channel"));
  EXPECT_EQ(written->config()["quantization_config"]["config_groups"].size(), 2u);
  EXPECT_EQ(Describe(*written->Linear({.name = "model.layers.2.mlp.down_proj", .n = 64, .k = 172})->weight), "int4 per-channel");
  EXPECT_EQ(Describe(*written->Linear({.name = "model.layers.2.mlp.up_proj", .n = 172, .k = 64})->weight), "int4 g32");
  options.ragged = Ragged::kIgnore;
  ASSERT_TRUE(Quantize(kPipelineStories, dir.File("ignore"), options));
  EXPECT_TRUE(OpenQuantized(dir.File("ignore"))->Has("model.layers.0.mlp.down_proj.weight"));
  ASSERT_TRUE(Quantize(kPipelineStories, dir.File("rows"), Options("W4A16", -1)));
  ASSERT_TRUE(Quantize(kPipelineStories, dir.File("four"), Options("W4A16_ASYM", 4)));
  ASSERT_TRUE(Quantize(kPipelineStories, dir.File("fp8"), Options("FP8_BLOCK")));
}

TEST(Pipeline, QuantizesExperts) {
  NIBBLE_NEED_SHARED(mixtral, "data/architectures/mixtral");
  testing::TempDir dir;
  const auto report = Quantize(mixtral, dir.File("out"), Options("W4A16", 32));
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_EQ(report->modules.size(), 2u * (4 + 4 * 3));
  const auto written = OpenQuantized(dir.File("out"));
  EXPECT_TRUE(written->Has("model.layers.1.block_sparse_moe.experts.3.down_proj.weight_packed"));
  EXPECT_TRUE(written->Has("model.layers.1.block_sparse_moe.gate.weight"));
  EXPECT_FALSE(written->Has("model.layers.1.block_sparse_moe.experts.3.w2.weight"));
  const auto ignore = written->config()["quantization_config"]["ignore"].get<std::vector<std::string>>();
  EXPECT_THAT(ignore, ::testing::Contains("model.layers.0.block_sparse_moe.gate"));
  ThreadTeam team(1);
  LoadOptions load;
  const auto model = LoadModel(*written, load, {std::make_shared<ThreadTeam>(1)});
  EXPECT_TRUE(model) << model.error().ToString();
}

}  // namespace
}  // namespace nibble
