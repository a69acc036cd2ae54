// SPDX-License-Identifier: Apache-2.0
// Every architecture against logits and greedy continuations that transformers computed in float32 (tests/data/architectures, and
// the larger shared set): in one chunk and in small ones, alone and among others, on several ranks, and with quantized weights.
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "support/models.h"
#include "support/paths.h"
#include "support/program.h"

namespace nibble {
namespace {

using testing::Golden;
using testing::TestOptions;
using testing::Tokens;

struct ArchitectureCase {
  const char* name;
  bool bundled = false;  // in the repository; the others are shared data
};
void PrintTo(const ArchitectureCase& c, std::ostream* out) { *out << c.name; }

constexpr ArchitectureCase kArchitectures[] = {
    {"llama-rope3-tied", true},
    {"mistral", true},
    {"qwen3", true},
    {"mixtral", true},
    {"arcee", true},
    {"bloom-post-norm", true},
    {"codegen", true},
    {"cwm", true},
    {"dots1", true},
    {"ernie4_5", true},
    {"exaone", true},
    {"exaone_moe", true},
    {"glm", true},
    {"gpt_bigcode", true},
    {"granitemoehybrid", true},
    {"granitemoeshared", true},
    {"helium", true},
    {"internlm2", true},
    {"internlm3", true},
    {"jais2", true},
    {"laguna", true},
    {"lfm2_moe", true},
    {"ministral", true},
    {"ministral3", true},
    {"olmo3", true},
    {"opt-post-norm", true},
    {"persimmon", true},
    {"phimoe-v4config", true},
    {"seed_oss", true},
    {"solar_open", true},
    {"stablelm-qk-norm", true},
    {"vaultgemma", true},
    {"afmoe"},
    {"apertus"},
    {"bitnet"},
    {"bloom"},
    {"cohere"},
    {"cohere2"},
    {"deepseek_v2"},
    {"deepseek_v3"},
    {"ernie4_5_moe"},
    {"exaone4"},
    {"falcon"},
    {"falcon-new"},
    {"gemma"},
    {"gemma2"},
    {"gemma3"},
    {"gemma4"},
    {"glm4"},
    {"glm4_moe"},
    {"glm4_moe_lite"},
    {"gpt2"},
    {"gpt_neox"},
    {"gpt_oss"},
    {"gpt_oss-mxfp4"},
    {"gptj"},
    {"granite"},
    {"granitemoe"},
    {"hunyuan_v1_dense"},
    {"hunyuan_v1_moe"},
    {"lfm2"},
    {"llama"},
    {"llama-dynamic"},
    {"llama-linear"},
    {"llama-rope3-tied-v4config"},
    {"llama-sharded"},
    {"llama-yarn"},
    {"llama4_text"},
    {"mimo_v2_flash"},
    {"minimax"},
    {"minimax_m2"},
    {"mpt"},
    {"nemotron"},
    {"olmo"},
    {"olmo2"},
    {"olmoe"},
    {"opt"},
    {"phi"},
    {"phi3"},
    {"phi3-v4config"},
    {"phimoe"},
    {"qwen2"},
    {"qwen2_moe"},
    {"qwen3_5"},
    {"qwen3_5_moe"},
    {"qwen3_moe"},
    {"qwen3_next"},
    {"smollm3"},
    {"stablelm"},
    {"starcoder2"},
};

class Architectures : public ::testing::TestWithParam<ArchitectureCase> {
 protected:
  void SetUp() override {
    const std::string bundled = testing::Repo(std::string("tests/data/architectures/") + GetParam().name);
    folder_ = GetParam().bundled ? bundled : testing::Shared(std::string("data/architectures/") + GetParam().name);
    if (folder_.empty()) GTEST_SKIP() << "needs the shared data: data/architectures/" << GetParam().name;
    golden_ = testing::ReadGolden(folder_ + "/expected.safetensors");
    ASSERT_TRUE(golden_.ok());
    ASSERT_EQ(golden_.greedy.size(), 16u);
  }

  static EngineOptions Options() {
    EngineOptions options = TestOptions();
    options.context = 64;
    return options;
  }
  Tokens Prompt() const { return {golden_.tokens[0].begin(), golden_.tokens[0].begin() + 8}; }
  void ExpectGolden(Engine& engine) const {
    testing::ExpectClose(testing::Logits(engine, golden_.tokens), golden_.logits);
    EXPECT_EQ(testing::Greedy(engine, Prompt(), 16), golden_.greedy);
  }

  std::string folder_;
  Golden golden_;
};

TEST_P(Architectures, LogitsAndGreedyInOneChunkAndInMany) {
  for (const int64_t batch_rows : {512, 7, 3, 1}) {
    SCOPED_TRACE(batch_rows);
    EngineOptions options = Options();
    options.batch_rows = batch_rows;
    auto engine = testing::OpenModel(folder_, options);
    ASSERT_TRUE(engine) << engine.error().ToString();
    ExpectGolden(**engine);
  }
}

// Steps of one row: every worker runs what rows cannot be divided for, on copies of its own, and its own heads where they divide.
TEST_P(Architectures, StepsOfOneRowWithAnyNumberOfWorkers) {
  for (const int threads : {1, 2, 3}) {
    SCOPED_TRACE(threads);
    EngineOptions options = Options();
    options.batch_rows = 1;
    options.threads = threads;
    auto engine = testing::OpenModel(folder_, options);
    ASSERT_TRUE(engine) << engine.error().ToString();
    ExpectGolden(**engine);
  }
}

TEST_P(Architectures, GreedyInABatchWithOthers) {
  EngineOptions options = Options();
  options.max_sequences = 3;
  options.batch_rows = 11;
  auto engine = testing::OpenModel(folder_, options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  const Tokens& other = golden_.tokens.back();
  const auto together = testing::GreedyAll(**engine, {other, Prompt(), {other.begin(), other.begin() + 5}}, 16);
  EXPECT_EQ(together[1], golden_.greedy);
}

TEST_P(Architectures, Ranks) {
  for (const int ranks : {2, 4}) {
    SCOPED_TRACE(ranks);
    EngineOptions options = Options();
    options.load.ranks = ranks;
    auto engine = testing::OpenModel(folder_, options);
    if (!engine && ranks == 4) {  // the heads do not permit it
      EXPECT_EQ(engine.error().code, Code::kUnsupported) << engine.error().ToString();
      EXPECT_NE(engine.error().message.find("--tp may be 1, 2"), std::string::npos) << engine.error().ToString();
      EXPECT_EQ(engine.error().message.find("--tp may be 1, 2, 4"), std::string::npos) << engine.error().ToString();
      continue;
    }
    ASSERT_TRUE(engine) << engine.error().ToString();
    ExpectGolden(**engine);
  }
}

// Stacked experts, rows picked from fused tensors and heads that are turned share names and shapes.
TEST_P(Architectures, FirstAndSecondStartWithAPackCache) {
  const testing::TempDir dir;
  for (int start = 0; start < 2; ++start) {
    SCOPED_TRACE(start);
    EngineOptions options = Options();
    options.load.pack_cache_dir = dir.path();
    auto engine = testing::OpenModel(folder_, options);
    ASSERT_TRUE(engine) << engine.error().ToString();
    ExpectGolden(**engine);
  }
}

// Weights quantized while they are loaded: the kernels against the definition, DecodeRows and then floats.
TEST_P(Architectures, QuantizedOnlineAsDecodedRows) {
  for (const char* format : {"int8", "int4"}) {
    SCOPED_TRACE(format);
    std::vector<float> logits[2];
    for (const bool reference : {true, false}) {
      auto checkpoint = Checkpoint::Open(folder_, CheckpointKind::kHubFolder);
      ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
      const bool is_quantized = JsonFind((*checkpoint)->config(), "quantization_config") != nullptr;
      const Status asked = (*checkpoint)->QuantizeWhileLoading(format, 2);
      if (is_quantized) {
        EXPECT_FALSE(asked);
        continue;
      }
      ASSERT_TRUE(asked) << asked.error().ToString();
      EngineOptions options = Options();
      options.load.reference = reference;
      auto engine = Engine::Open(std::move(*checkpoint), options);
      ASSERT_TRUE(engine) << engine.error().ToString();
      logits[reference] = testing::Logits(**engine, golden_.tokens);
    }
    if (logits[0].empty()) continue;
    testing::ExpectClose(logits[0], logits[1]);
    EXPECT_GT(testing::WorstDifference(logits[0], golden_.logits), 0) << "nothing was quantized";
  }
}

INSTANTIATE_TEST_SUITE_P(All, Architectures, ::testing::ValuesIn(kArchitectures), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// Families that are known, with something in them that this build lacks.
TEST(ArchitectureNames, ARowWithoutAModelSaysWhatIsMissing) {
  const struct {
    const char *config, *missing;
  } kRows[] = {{"deepseek-ai--DeepSeek-V4-Flash", "indexer"},
               {"sgl-project--DeepSeek-V4-Pro-FP8", "hyper-connections"},
               {"zai-org--GLM-5.1-FP8", "indexer"},
               {"RedHatAI--DeepSeek-V4-Flash-NVFP4-FP8", "indexer"},
               {"stepfun-ai--Step-3.7-Flash", "swiglu_limits"},
               {"moonshotai--Kimi-K3", "Kimi delta attention"}};
  for (const auto& [name, missing] : kRows) {
    NIBBLE_NEED_SHARED(config, fmt::format("data/configs/{}_config.json", name));
    for (const char* command : {"plan", "explain"}) {
      const auto result = testing::RunProgram(fmt::format("{} '{}'", command, config));
      EXPECT_EQ(result.exit_code, 4) << result.output;
      EXPECT_NE(result.output.find(missing), std::string::npos) << result.output;
    }
  }
}

TEST(ArchitectureNames, EveryFolderIsInTheList) {
  NIBBLE_NEED_SHARED(root, "data/architectures");
  std::set<std::string> listed;
  for (const ArchitectureCase& c : kArchitectures) EXPECT_TRUE(listed.insert(c.name).second) << c.name << " is listed twice";
  for (const auto& entry : std::filesystem::directory_iterator(root))
    if (entry.is_directory()) {
      EXPECT_TRUE(listed.count(entry.path().filename().string())) << entry.path();
    }
}

// Code that serves all families must not ask which one it serves. GGUF has names of its own for them, which its tables map, and
// one method has the name of a model.
TEST(ArchitectureNames, NoFileOutsideTheirOwnNamesAModelType) {
  namespace fs = std::filesystem;
  const std::string source = testing::Repo("src");
  std::vector<std::string> names;
  for (const Architecture* architecture : ArchitectureTable())
    for (const std::string_view type : architecture->model_types) names.push_back(fmt::format("\"{}\"", type));
  ASSERT_GT(names.size(), 40u);
  for (const auto& entry : fs::recursive_directory_iterator(source)) {
    const std::string path = fs::relative(entry.path(), source).string();
    const bool is_code = path.ends_with(".cc") || path.ends_with(".h") || path.ends_with(".inc");
    if (!is_code || path.ends_with("_test.cc") || path.starts_with("models/arch/") || path.find("gguf") != std::string::npos ||
        path.starts_with("methods/bitnet/"))
      continue;
    std::ifstream file(entry.path());
    int number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      line = line.substr(0, line.find("//"));
      for (const std::string& name : names) EXPECT_EQ(line.find(name), std::string::npos) << path << ":" << number << ": " << line;
    }
  }
}

// The model of a folder, changed by `change`, still gives the folder's logits.
void ExpectSameLogits(const std::string& folder, const std::function<void(testing::EditableModel*)>& change) {
  auto model = testing::EditableModel::Read(folder);
  change(&model);
  const testing::TempDir dir;
  model.Write(dir.File("model"));
  auto engine = testing::OpenModel(dir.File("model"), TestOptions());
  ASSERT_TRUE(engine) << engine.error().ToString();
  const Golden golden = testing::ReadGolden(folder + "/expected.safetensors");
  testing::ExpectClose(testing::Logits(**engine, golden.tokens), golden.logits);
}

void Rename(testing::EditableModel* model, const std::function<std::string(std::string)>& rename) {
  decltype(model->tensors) renamed;
  for (auto& [name, tensor] : model->tensors) renamed[rename(name)] = std::move(tensor);
  model->tensors = std::move(renamed);
}

// Tools that save what transformers 5 has in memory (GPTQModel) call Mixtral's router and experts mlp.*.
TEST(TensorNames, MixtralAsTransformers5HasItInMemory) {
  ExpectSameLogits(testing::Repo("tests/data/architectures/mixtral"), [](testing::EditableModel* model) {
    Rename(model, [](std::string name) {
      if (const size_t at = name.find("block_sparse_moe."); at != std::string::npos) name.replace(at, 16, "mlp");
      return name;
    });
  });
}

// The files that their authors published begin with the layers, without the name of the model around them.
TEST(TensorNames, HubFilesOfGpt2AndBloomBeginWithTheLayers) {
  for (const char* name : {"gpt2", "bloom"}) {
    SCOPED_TRACE(name);
    NIBBLE_NEED_SHARED(folder, std::string("data/architectures/") + name);
    ExpectSameLogits(folder, [](testing::EditableModel* model) {
      Rename(model, [](std::string tensor) { return tensor.starts_with("transformer.") ? tensor.substr(12) : tensor; });
    });
  }
}

// Both orders in which transformers wrote the text model of a model of text and images; what sees images is left alone.
TEST(TensorNames, TextModelsInsideModelsOfTextAndImages) {
  NIBBLE_NEED_SHARED(gemma3, "data/architectures/gemma3");
  for (const std::string& folder : {gemma3, testing::Repo("tests/data/architectures/mistral")})
    for (const bool inside : {false, true}) {
      SCOPED_TRACE(folder + (inside ? " model.language_model." : " language_model.model."));
      ExpectSameLogits(folder, [&](testing::EditableModel* model) {
        model->config = {{"model_type", "of_text_and_images"}, {"text_config", model->config}, {"vision_config", Json::object()}};
        Rename(model, [&](const std::string& tensor) {
          if (!inside) return "language_model." + tensor;
          return tensor.starts_with("model.") ? "model.language_model." + tensor.substr(6) : tensor;
        });
        model->tensors[inside ? "model.vision_tower.weight" : "vision_tower.weight"] = {DType::kF32, {1}, std::string(4, '\0')};
      });
    }
}

// Text alone in a model of text and images whose rope has a part of each head for time, height and width.
TEST(TensorNames, TheTextOfQwen3VlIsQwen3) {
  ExpectSameLogits(testing::Repo("tests/data/architectures/qwen3"), [](testing::EditableModel* model) {
    Json text = model->config;
    text["model_type"] = "qwen3_vl_text";
    text["rope_parameters"]["rope_type"] = "mrope";
    text["rope_parameters"]["mrope_section"] = {4, 6, 6};
    model->config = {{"model_type", "qwen3_vl"}, {"text_config", text}, {"vision_config", Json::object()}};
    Rename(model,
           [](const std::string& name) { return name.starts_with("model.") ? "model.language_model." + name.substr(6) : name; });
    model->tensors["model.visual.blocks.0.attn.proj.weight"] = {DType::kF32, {1}, std::string(4, '\0')};
  });
}

}  // namespace
}  // namespace nibble
