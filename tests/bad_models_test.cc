// SPDX-License-Identifier: Apache-2.0
// Configs and weights that do not make a model: each is refused before anything runs, by an error that names the place and the
// numbers.
#include <functional>

#include "support/models.h"
#include "support/paths.h"
#include "support/program.h"

namespace nibble {
namespace {

using testing::EditableModel;

// One fault put into a sound model of the repository.
struct Fault {
  const char* name;
  const char* folder;
  std::function<void(EditableModel*)> put;
  Code code;
  std::vector<const char*> said;  // parts of the message
};
void PrintTo(const Fault& f, std::ostream* out) { *out << f.name; }

std::function<void(EditableModel*)> Set(const char* key, const Json& value) {
  return [=](EditableModel* model) { model->config[key] = value; };
}

// Keeps the first `rows` rows of a tensor.
std::function<void(EditableModel*)> CutTo(const char* tensor, int64_t rows) {
  return [=](EditableModel* model) {
    auto& cut = model->tensors.at(tensor);
    cut.bytes.resize(cut.bytes.size() / static_cast<size_t>(cut.shape[0]) * static_cast<size_t>(rows));
    cut.shape[0] = rows;
  };
}

void WithoutAnExpert(EditableModel* model) {
  std::erase_if(model->tensors, [](const auto& tensor) { return tensor.first.find("experts.2.") != std::string::npos; });
}

const Fault kFaults[] = {
    {"KvHeadsThatDoNotDivide", "mistral", Set("num_key_value_heads", 3), Code::kCorrupt, {"config.json", "num_key_value_heads 3"}},
    {"HeadsThatDoNotDivide",
     "mistral",
     [](EditableModel* m) {
       m->config.erase("head_dim");
       m->config["num_attention_heads"] = m->config["num_key_value_heads"] = 7;
     },
     Code::kCorrupt,
     {"config.json", "num_attention_heads 7", "no head_dim"}},
    {"NoHeads", "mistral", Set("num_attention_heads", 0), Code::kCorrupt, {"config.json", "num_attention_heads", "found 0"}},
    {"AWindowOfZero", "mistral", Set("sliding_window", 0), Code::kCorrupt, {"config.json", "sliding_window is 0"}},
    {"ANegativeWindow", "mistral", Set("sliding_window", -8), Code::kCorrupt, {"config.json", "sliding_window is -8"}},
    {"AnUnknownKindOfRope",
     "llama-rope3-tied",
     Set("rope_parameters", {{"rope_type", "spiral"}, {"rope_theta", 10000.0}}),
     Code::kUnsupported,
     {"config.json", "\"spiral\"", "llama3, yarn"}},
    {"RopeWithoutAFactor",
     "llama-rope3-tied",
     Set("rope_parameters", {{"rope_type", "linear"}, {"rope_theta", 10000.0}}),
     Code::kCorrupt,
     {"config.json", "factor"}},
    {"MoreExpertsChosenThanThereAre", "mixtral", Set("num_experts_per_tok", 5), Code::kCorrupt, {"config.json", "5 of 4 experts"}},
    {"MoreExpertsThanStored", "mixtral", Set("num_local_experts", 6), Code::kCorrupt, {"gate.weight is [4,64], wanted [6,64]"}},
    {"AnExpertMissing", "mixtral", WithoutAnExpert, Code::kNotFound, {"expert 2 of \"model.layers.0."}},
    {"AVocabularyLargerThanTheEmbedding", "mistral", Set("vocab_size", 4000), Code::kCorrupt, {"embed_tokens", "4000"}},
    {"ATiedVocabularyLargerThanTheEmbedding", "qwen3", Set("vocab_size", 4000), Code::kCorrupt, {"embed_tokens", "4000"}},
    {"MoreLayersThanStored", "mistral", Set("num_hidden_layers", 9), Code::kNotFound, {"layers."}},
    {"FewerLayersThanStored", "mistral", Set("num_hidden_layers", 1), Code::kCorrupt, {"belong to nothing", "model.layers.1."}},
    {"AProjectionOfAnotherShape",
     "mistral",
     CutTo("model.layers.0.mlp.up_proj.weight", 8),
     Code::kCorrupt,
     {"model.layers.0.mlp.up_proj", "[8,"}},
    {"ANormOfAnotherSize", "mistral", CutTo("model.norm.weight", 8), Code::kCorrupt, {"model.norm.weight", "[8]"}},
    {"AnotherHiddenSize", "mistral", Set("hidden_size", 128), Code::kCorrupt, {"128"}},
    {"AnUnknownActivation", "mistral", Set("hidden_act", "sine"), Code::kUnsupported, {"config.json", "\"sine\"", "silu"}},
};

class BadModels : public ::testing::TestWithParam<Fault> {};

TEST_P(BadModels, AreRefusedByName) {
  auto model = EditableModel::Read(testing::Repo(std::string("tests/data/architectures/") + GetParam().folder));
  GetParam().put(&model);
  const testing::TempDir dir;
  model.Write(dir.File("model"));
  const auto engine = testing::OpenModel(dir.File("model"));
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, GetParam().code) << engine.error().ToString();
  for (const char* part : GetParam().said)
    EXPECT_NE(engine.error().message.find(part), std::string::npos) << "\"" << part << "\" not in: " << engine.error().ToString();
}

INSTANTIATE_TEST_SUITE_P(All, BadModels, ::testing::ValuesIn(kFaults), [](const auto& test) { return test.param.name; });

TEST(BadTokens, OutsideTheVocabularyAreRefused) {
  auto engine = testing::OpenModel(testing::Repo("tests/data/architectures/mistral"));
  ASSERT_TRUE(engine) << engine.error().ToString();
  for (const int32_t token : {-1, static_cast<int32_t>((*engine)->vocab())}) {
    const Status done = ForEachLogits(**engine, {{1, token}}, [](int64_t, int64_t, const float*) {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::kCorrupt);
    EXPECT_NE(done.error().message.find(fmt::format("token id {}", token)), std::string::npos) << done.error().ToString();
  }
}

// An unknown model_type: what this build runs, nearest first; with a known structure it runs by that name.
TEST(UnknownArchitectures, AreNamedWithTheNearestAndRunAsAnother) {
  const std::string folder = testing::Repo("tests/data/architectures/mistral");
  auto model = EditableModel::Read(folder);
  model.config["model_type"] = "mistrall";
  model.config["sliding_window"] = nullptr;
  const testing::TempDir dir;
  model.Write(dir.File("model"));
  const auto refused = testing::OpenModel(dir.File("model"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
  EXPECT_NE(refused.error().message.find("\"mistrall\" is unknown; nearest first, this build runs: mistral"), std::string::npos)
      << refused.error().ToString();
  EngineOptions options = testing::TestOptions();
  options.load.architecture_as = "llama";
  EXPECT_TRUE(testing::OpenModel(dir.File("model"), options));
  options.load.architecture_as = "qwen3";  // norms of q and k that the file lacks
  const auto other = testing::OpenModel(dir.File("model"), options);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("q_norm.weight"), std::string::npos) << other.error().ToString();
}

// Tensors without a place are named, as many as there are.
TEST(UnknownArchitectures, SayWhichTensorsHaveNoPlace) {
  const testing::TempDir dir;
  EditableModel::Read(testing::Repo("tests/data/architectures/qwen3")).Write(dir.File("model"));
  EngineOptions options = testing::TestOptions();
  options.load.architecture_as = "llama";
  const auto engine = testing::OpenModel(dir.File("model"), options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, Code::kCorrupt);
  EXPECT_NE(engine.error().message.find("6 tensors belong to nothing that architecture llama has"), std::string::npos)
      << engine.error().ToString();
  EXPECT_NE(engine.error().message.find("k_norm.weight"), std::string::npos) << engine.error().ToString();
}

}  // namespace
}  // namespace nibble
