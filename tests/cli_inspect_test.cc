// SPDX-License-Identifier: Apache-2.0
// inspect, explain, plan and methods as a user runs them: the program's output, files and exit codes.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <fstream>

#include "io/json.h"
#include "io/safetensors.h"
#include "methods/checkpoint_test.h"
#include "support/paths.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct Ran {
  int exit_code = -1;
  std::string out;  // stdout and, after it in time, stderr
};

Ran Nibble(const std::string& arguments) {
  Ran ran;
  FILE* pipe = popen((std::string(NIBBLE_PROGRAM) + " " + arguments + " 2>&1").c_str(), "r");
  if (!pipe) return ran;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.out.append(buffer, n);
  const int status = pclose(pipe);
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

// The saved f32 tensor begins with exactly the values of `wanted`.
void ExpectSame(const SafetensorsFiles& saved, const std::string& name, const StoredTensor& wanted) {
  const StoredTensor* found = saved.tensors.Find(name);
  ASSERT_TRUE(found) << name;
  ASSERT_EQ(found->view.dtype, DType::kF32);
  ASSERT_GE(found->shape.elems(), wanted.shape.elems());
  int64_t wrong = 0;
  for (int64_t i = 0; i < wanted.shape.elems(); ++i)
    wrong += LoadScalar(DType::kF32, found->view.data, i) != LoadScalar(wanted.view.dtype, wanted.view.data, i);
  EXPECT_EQ(wrong, 0) << name;
}

TEST(CliInspect, DequantizesAFloatModelExactly) {
  const std::string model = testing::Repo("tests/data/models/tales-1m");
  const testing::TempDir dir;
  const std::vector<std::string> names = {"model.layers.0.mlp.down_proj", "lm_head", "model.embed_tokens.weight", "model.norm"};
  std::string arguments = "inspect " + model + " --save " + dir.File("out.safetensors");
  for (const std::string& name : names) arguments += " --dequantize " + name;
  const Ran ran = Nibble(arguments);
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto saved = OpenSafetensors(dir.File("out.safetensors"));
  const auto stored = OpenSafetensorsFolder(model);
  ASSERT_TRUE(saved && stored);
  for (const std::string& name : names) {
    const StoredTensor* wanted = stored->tensors.Find(name.ends_with(".weight") ? name : name + ".weight");
    ASSERT_TRUE(wanted) << name;
    EXPECT_EQ(saved->tensors.Find(name)->shape.ToString(), wanted->shape.ToString());
    ExpectSame(*saved, name, *wanted);
  }
}

void ExpectDequantized(const std::string& model, const std::string& expected_file) {
  const auto expected = OpenSafetensors(expected_file);
  ASSERT_TRUE(expected) << expected.error().ToString();
  const testing::TempDir dir;
  std::string arguments = "inspect " + model + " --save " + dir.File("out.safetensors");
  for (const StoredTensor& tensor : expected->tensors.tensors()) arguments += " --dequantize " + tensor.name;
  const Ran ran = Nibble(arguments);
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto saved = OpenSafetensors(dir.File("out.safetensors"));
  ASSERT_TRUE(saved);
  for (const StoredTensor& tensor : expected->tensors.tensors()) ExpectSame(*saved, tensor.name, tensor);
}

TEST(CliInspect, DequantizesGptqAsTheToolDoes) {
  NIBBLE_NEED_CHECKPOINT(folder, "gptqmodel-4bit-g128-asym-desc");
  ExpectDequantized(folder, folder + "/expected/weights.safetensors");
}

TEST(CliInspect, DequantizesGgufByHubNames) {
  const std::string folder = testing::Repo("tests/data/checkpoints/llamacpp-q2-k");
  const testing::TempDir dir;
  const Ran ran =
      Nibble("inspect " + folder + "/q2-k.gguf --dequantize model.layers.0.self_attn.q_proj --save " + dir.File("out.safetensors"));
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  NIBBLE_NEED_CHECKPOINT(shared, "llamacpp-q2-k");
  ExpectDequantized(folder + "/q2-k.gguf", shared + "/expected/weights.safetensors");
}

TEST(CliInspect, ListsAsJson) {
  const Ran ran = Nibble("inspect " + testing::Repo("tests/data/models/tales-1m") + " --json");
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto json = ParseJson(ran.out, "stdout");
  ASSERT_TRUE(json) << json.error().ToString();
  EXPECT_EQ((*json)["bits_per_weight"], 16.0);
  EXPECT_EQ((*json)["tensors"].size(), 21u);
  EXPECT_EQ((*json)["tensors"][0]["name"], "model.embed_tokens");
  int64_t bytes = 0;
  for (const Json& row : (*json)["tensors"]) bytes += row["bytes"].get<int64_t>();
  EXPECT_EQ(bytes, (*json)["tensor_bytes"].get<int64_t>());
}

TEST(CliInspect, WrongNamesAndOptions) {
  const std::string model = testing::Repo("tests/data/models/tales-1m");
  const testing::TempDir dir;
  const Ran wrong = Nibble("inspect " + model + " --dequantize model.layers.0.mlp.donw_proj --save " + dir.File("out.safetensors"));
  EXPECT_EQ(wrong.exit_code, 3);
  EXPECT_NE(wrong.out.find("model.layers.0.mlp.down_proj"), std::string::npos) << wrong.out;
  EXPECT_FALSE(std::filesystem::exists(dir.File("out.safetensors")));
  EXPECT_EQ(Nibble("inspect " + model + " --dequantize lm_head").exit_code, 2);
}

TEST(CliInspect, VerifyFindsAPlantedNan) {
  const std::string model = testing::Repo("tests/data/models/tales-1m");
  EXPECT_EQ(Nibble("inspect " + model + " --verify").exit_code, 0);
  const testing::TempDir dir;
  for (const char* name : {"config.json", "model.safetensors"}) std::filesystem::copy_file(model + "/" + name, dir.File(name));
  int64_t offset = 0;
  {
    const auto files = OpenSafetensorsFolder(dir.path());
    ASSERT_TRUE(files);
    offset = files->tensors.Find("model.layers.1.mlp.up_proj.weight")->file_offset;
  }
  std::fstream file(dir.File("model.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(offset + 2 * (256 * 3 + 5));
  file.write("\xc0\x7f", 2);  // bf16 NaN
  file.close();
  const Ran ran = Nibble("inspect " + dir.path() + " --verify");
  EXPECT_EQ(ran.exit_code, 1) << ran.out;
  EXPECT_NE(ran.out.find("model.layers.1.mlp.up_proj"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("row 3, column 5"), std::string::npos) << ran.out;
}

TEST(CliInspect, StatisticsOfOneMatrix) {
  const Ran ran =
      Nibble("inspect " + testing::Repo("tests/data/models/tales-1m") + " --tensor model.layers.0.mlp.down_proj --json");
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto json = ParseJson(ran.out, "stdout");
  ASSERT_TRUE(json);
  int64_t total = 0;
  for (const Json& count : (*json)[0]["histogram"]) total += count.get<int64_t>();
  EXPECT_EQ(total, 256 * 512);
}

TEST(CliPlan, OfAConfigAlone) {
  const testing::TempDir dir;
  std::ofstream(dir.File("config.json"))
      << R"({"model_type":"llama","hidden_size":256,"intermediate_size":512,"num_hidden_layers":2,
    "num_attention_heads":4,"vocab_size":512,"quantization_config":{"quant_method":"gptq","bits":4,"group_size":128,"desc_act":false,"sym":true}})";
  for (const std::string& model : {dir.path(), dir.File("config.json")}) EXPECT_EQ(Nibble("explain " + model).exit_code, 0);
  const Ran ran = Nibble("plan " + dir.File("config.json") + " --context 64 --batch 2 --json");
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto json = ParseJson(ran.out, "stdout");
  ASSERT_TRUE(json) << ran.out;
  EXPECT_TRUE((*json)["from_config_alone"].get<bool>());
  EXPECT_TRUE((*json)["fits"].get<bool>());
  EXPECT_EQ((*json)["kv_bytes"].get<int64_t>(), 2 * 64 * (*json)["kv_bytes_per_position"].get<int64_t>());
  const Ran small = Nibble("plan " + testing::Repo("tests/data/models/tales-1m") + " --memory 1000000");
  EXPECT_EQ(small.exit_code, 0) << small.out;
  EXPECT_NE(small.out.find("it does not fit"), std::string::npos) << small.out;
}

TEST(CliPlan, UnknownArchitecturesAreUnsupported) {
  const testing::TempDir dir;
  std::ofstream(dir.File("config.json"))
      << R"({"model_type":"nobody","hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,"vocab_size":6})";
  for (const char* command : {"plan ", "explain "}) {
    const Ran ran = Nibble(command + dir.File("config.json"));
    EXPECT_EQ(ran.exit_code, 4) << ran.out;
    EXPECT_NE(ran.out.find("\"nobody\" is unknown"), std::string::npos) << ran.out;
  }
}

TEST(CliExplain, NamesAKernelForEveryPart) {
  const Ran ran = Nibble("explain " + testing::Repo("tests/data/models/tales-1m") + " --json");
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto json = ParseJson(ran.out, "stdout");
  ASSERT_TRUE(json);
  ASSERT_EQ((*json)["layers"].size(), 5u);
  for (const Json& layer : (*json)["layers"])
    for (const Json& part : layer["parts"]) EXPECT_EQ(part["kernels"].size(), 4u);
}

TEST(CliMethods, ListsTheRegistry) {
  const Ran ran = Nibble("methods --json");
  ASSERT_EQ(ran.exit_code, 0) << ran.out;
  const auto json = ParseJson(ran.out, "stdout");
  ASSERT_TRUE(json);
  std::vector<std::string> names;
  for (const Json& method : (*json)["methods"]) names.push_back(method["name"]);
  EXPECT_TRUE(std::find(names.begin(), names.end(), "gptq") != names.end());
  EXPECT_TRUE(std::find(names.begin(), names.end(), "gguf") != names.end());
  EXPECT_EQ(Nibble("methods").exit_code, 0);
}

}  // namespace
}  // namespace nibble
