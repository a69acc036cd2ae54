// SPDX-License-Identifier: Apache-2.0
// Wrong files, wrong options and machines that are too small, through the program: the exit code says which kind, the message what,
// where, found and wanted, and nothing ever crashes.
#include <gmock/gmock.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "methods/checkpoint_test.h"
#include "support/program.h"

namespace nibble {
namespace {

using ::testing::AllOf;
using testing::EditableModel;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProgramResult;
using testing::RunProgram;

enum Exit { kOk = 0, kUsage = 2, kBadInput = 3, kUnsupported = 4, kEnvironment = 5 };

class BadInput : public ::testing::Test {
 protected:
  static std::string Small() { return testing::Repo("tests/data/architectures/llama-rope3-tied"); }
  static std::string WithTokenizer() { return testing::Repo("tests/data/models/tales-1m"); }
  std::string Folder() const { return dir_.File("model"); }
  std::string Weights() const { return Folder() + "/model.safetensors"; }

  ProgramResult Generate(const std::string& folder, const std::string& more = "") {
    return RunProgram(fmt::format("run '{}' --prompt-ids 1,2,3 --ids --max-tokens 2 --temperature 0 --threads 1 {}", folder, more));
  }
  ProgramResult Generate(const EditableModel& model) {
    model.Write(Folder());
    return Generate(Folder());
  }
  // Every message is one block that begins with the program's name.
  static void Expect(const ProgramResult& result, int exit_code, const std::vector<std::string>& parts) {
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    EXPECT_THAT(result.output, HasSubstr("nibble: "));
    EXPECT_THAT(result.output, Not(HasSubstr("bug")));
    for (const std::string& part : parts) EXPECT_THAT(result.output, HasSubstr(part));
  }
  testing::TempDir dir_;
};

TEST_F(BadInput, TheModelItselfRuns) {
  const ProgramResult result = Generate(EditableModel::Read(Small()));
  EXPECT_EQ(result.exit_code, kOk) << result.output;
}

TEST_F(BadInput, TruncatedFileAtEveryKindOfPlace) {
  EditableModel::Read(Small()).Write(Folder());
  const auto size = std::filesystem::file_size(Weights());
  for (const uintmax_t keep : {size - 1, size / 2, uintmax_t{1000}, uintmax_t{8}, uintmax_t{5}, uintmax_t{0}}) {
    SCOPED_TRACE(keep);
    std::filesystem::resize_file(Weights(), keep);
    Expect(Generate(Folder()), kBadInput, {Weights()});
  }
}

TEST_F(BadInput, HeadersThatLie) {
  EditableModel::Read(Small()).Write(Folder());
  std::string bytes;
  {
    std::ifstream file(Weights(), std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = bytes;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    changed.replace(at, from.size(), to);
    std::ofstream(Weights(), std::ios::binary) << changed;
    return Generate(Folder());
  };
  Expect(with("\"F32\"", "\"F16\""), kBadInput, {Weights(), "model.embed_tokens.weight"});
  Expect(with("\"F32\"", "\"Z99\""), kUnsupported, {Weights(), "Z99"});
  Expect(with("\"data_offsets\":[0,", "\"data_offsets\":[8,"), kBadInput, {Weights()});
  Expect(with("\"shape\":", "\"shqpe\":"), kBadInput, {Weights()});
  std::string huge = bytes;
  const uint64_t length = uint64_t{1} << 62;
  std::memcpy(huge.data(), &length, 8);
  std::ofstream(Weights(), std::ios::binary) << huge;
  Expect(Generate(Folder()), kBadInput, {Weights()});
}

TEST_F(BadInput, AMissingShard) {
  NIBBLE_NEED_SHARED(sharded, "data/architectures/llama-sharded");
  std::filesystem::copy(sharded, Folder());
  std::string removed;
  for (const auto& entry : std::filesystem::directory_iterator(Folder()))
    if (entry.path().filename().string().find("-00002-of-") != std::string::npos) removed = entry.path().string();
  std::filesystem::remove(removed);
  Expect(Generate(Folder()), kBadInput, {Folder(), std::filesystem::path(removed).filename().string(), "hf download"});
}

TEST_F(BadInput, TensorsThatAreMissingOrTooMany) {
  EditableModel model = EditableModel::Read(Small());
  const auto up = model.tensors.extract("model.layers.1.mlp.up_proj.weight");
  Expect(Generate(model), kBadInput, {Folder(), "model.layers.1.mlp.up_proj"});
  std::filesystem::remove_all(Folder());
  model = EditableModel::Read(Small());
  model.tensors.erase("model.norm.weight");
  Expect(Generate(model), kBadInput, {Folder(), "model.norm.weight"});
  std::filesystem::remove_all(Folder());
  model = EditableModel::Read(Small());
  model.tensors["model.layers.0.self_attn.sinks"] = model.tensors["model.norm.weight"];
  Expect(Generate(model), kBadInput, {Folder(), "model.layers.0.self_attn.sinks", "llama"});
}

TEST_F(BadInput, WrongShapesAndTypes) {
  EditableModel model = EditableModel::Read(Small());
  model.config["hidden_size"] = model.config["hidden_size"].get<int64_t>() * 2;
  Expect(Generate(model), kBadInput, {Folder(), "found", "wanted"});
  std::filesystem::remove_all(Folder());
  model = EditableModel::Read(Small());
  model.config["intermediate_size"] = model.config["intermediate_size"].get<int64_t>() + 1;
  Expect(Generate(model), kBadInput, {Weights(), "gate_proj", "config.json"});
  std::filesystem::remove_all(Folder());
  model = EditableModel::Read(Small());
  model.config["vocab_size"] = 7;
  Expect(Generate(model), kBadInput, {Weights(), "model.embed_tokens", "7"});
  std::filesystem::remove_all(Folder());
  model = EditableModel::Read(Small());
  model.tensors["model.layers.0.mlp.up_proj.weight"].dtype = DType::kI32;
  Expect(Generate(model), kBadInput, {Weights(), "model.layers.0.mlp.up_proj.weight", "dtype is i32", "wanted f32"});
  std::filesystem::remove_all(Folder());
  model = EditableModel::Read(Small());
  model.tensors["model.layers.0.input_layernorm.weight"].dtype = DType::kI32;
  Expect(Generate(model), kBadInput, {Weights(), "model.layers.0.input_layernorm.weight", "found i32 [64]"});
}

TEST_F(BadInput, ConfigsThatMakeNoSense) {
  const auto with = [&](const char* key, const Json& value) {
    std::filesystem::remove_all(Folder());
    EditableModel model = EditableModel::Read(Small());
    model.config[key] = value;
    return Generate(model);
  };
  const std::string config = Folder() + "/config.json";
  Expect(with("num_attention_heads", 3), kBadInput, {config, "num_attention_heads 3"});
  Expect(with("num_attention_heads", 0), kBadInput, {config, "num_attention_heads", "0"});
  Expect(with("num_hidden_layers", -2), kBadInput, {config, "num_hidden_layers", "-2"});
  Expect(with("num_hidden_layers", 1e300), kBadInput, {config, "num_hidden_layers"});
  Expect(with("num_hidden_layers", 50), kBadInput, {Folder(), "model.layers."});
  Expect(with("hidden_size", "64"), kBadInput, {config, "hidden_size"});
  Expect(with("hidden_act", "mish"), kUnsupported, {config, "mish", "silu"});
  Expect(with("model_type", "nonesuch"), kUnsupported, {config, "nonesuch", "llama"});
  Expect(with("rope_parameters", {{"rope_type", "spiral"}, {"rope_theta", 1e4}}), kUnsupported, {config, "spiral", "yarn"});
  Expect(with("rope_parameters", {{"rope_type", "llama3"}, {"rope_theta", -1}}), kBadInput, {config, "rope_theta"});
  Expect(with("quantization_config", {{"quant_method", "nonesuch"}}), kUnsupported, {config, "nonesuch"});
  Expect(with("quantization_config", {{"bits", 4}}), kBadInput, {config, "quant_method"});
  Expect(with("quantization_config", 4), kBadInput, {config, "object"});
  std::ofstream(config) << "{\"hidden_size\": ";
  Expect(Generate(Folder()), kBadInput, {config});
  std::ofstream(config) << "[]";
  Expect(Generate(Folder()), kBadInput, {config, "object"});
  std::filesystem::remove(config);
  Expect(Generate(Folder()), kBadInput, {Folder(), "config.json"});
}

TEST_F(BadInput, QuantizedCheckpoints) {
  NIBBLE_NEED_CHECKPOINT(gptq, "gptqmodel-4bit-g128-sym");
  const std::string module = "model.layers.1.mlp.down_proj";
  const auto with = [&](const auto& change) {
    std::filesystem::remove_all(Folder());
    EditableModel model = EditableModel::Read(gptq);
    change(model);
    return Generate(model);
  };
  const std::string config = Folder() + "/config.json";
  Expect(with([](EditableModel& m) { m.config["quantization_config"]["group_size"] = 100; }), kBadInput,
         {Weights(), ".scales", "[3,256]", "group_size"});
  Expect(with([](EditableModel& m) { m.config["quantization_config"]["group_size"] = -7; }), kBadInput, {config, "-7"});
  Expect(with([](EditableModel& m) { m.config["quantization_config"]["bits"] = 5; }), kBadInput, {Folder(), "5", "bits"});
  Expect(with([](EditableModel& m) { m.config["quantization_config"]["bits"] = 40; }), kBadInput, {config, "40"});
  Expect(with([&](EditableModel& m) { m.tensors.erase(module + ".scales"); }), kBadInput, {Folder(), module + ".scales", "gptq"});
  Expect(with([&](EditableModel& m) { m.tensors[module + ".qweight"].dtype = DType::kF32; }), kBadInput,
         {Weights(), module + ".qweight", "dtype is f32", "wanted i32"});
  Expect(with([&](EditableModel& m) {
           auto& scales = m.tensors[module + ".scales"].bytes;
           scales[10] = '\0';
           scales[11] = '\x7e';  // a NaN of f16
         }),
         kBadInput, {Weights(), module, "scale", "nan"});
  Expect(with([&](EditableModel& m) {
           auto& g_idx = m.tensors[module + ".g_idx"].bytes;
           g_idx[400] = 77;
         }),
         kBadInput, {Weights(), module, "group"});
}

TEST_F(BadInput, TextWithoutATokenizer) {
  const std::string run = fmt::format("run '{}' --max-tokens 1 --threads 1", Small());
  Expect(RunProgram(run + " -p x"), kBadInput, {Small(), "tokenizer"});
  Expect(RunProgram(run + " --prompt-ids 1,2"), kBadInput, {Small(), "printing text needs a tokenizer", "--ids"});
  EXPECT_EQ(RunProgram(run + " --prompt-ids 1,2 --ids").exit_code, kOk);
}

TEST_F(BadInput, TokensOutOfRange) {
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1,512 --ids --threads 1", WithTokenizer())), kBadInput, {"512", "[0, 512)"});
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1,-5 --ids --threads 1", WithTokenizer())), kUsage, {"-5"});
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1,x --ids --threads 1", WithTokenizer())), kUsage, {"1,x"});
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1 -p x", WithTokenizer())), kUsage, {"two prompts"});
  Expect(RunProgram(fmt::format("run '{}' -p x --max-tokens -7", WithTokenizer())), kUsage, {"--max-tokens", "-7"});
  Expect(RunProgram(fmt::format("run '{}' -p x --context -5", WithTokenizer())), kUsage, {"--context", "-5"});
  const std::string tokens = dir_.File("tokens.safetensors");
  auto writer = SafetensorsWriter::CreateFile(tokens, {{"tokens", DType::kI32, Shape{1, 2}}});
  ASSERT_TRUE(writer);
  const int32_t ids[2] = {3, 99999};
  ASSERT_TRUE(writer->Write("tokens", std::as_bytes(std::span(ids))));
  ASSERT_TRUE(writer->Commit());
  Expect(RunProgram(fmt::format("eval '{}' --tokens '{}' --save-logits '{}' --threads 1", WithTokenizer(), tokens,
                                dir_.File("out.safetensors"))),
         kBadInput, {"99999"});
  EXPECT_FALSE(std::filesystem::exists(dir_.File("out.safetensors"))) << "a file that looks whole was left";
}

TEST_F(BadInput, PromptsThatDoNotFit) {
  std::string ids = "1";
  for (int i = 0; i < 70; ++i) ids += ",2";
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids {} --ids --context 64 --threads 1", WithTokenizer(), ids)), kUsage,
         {"71", "64", "--context"});
}

TEST_F(BadInput, ModelsThatDoNotExist) {
  const std::string cache = "HF_HUB_CACHE='" + dir_.path() + "'";
  Expect(RunProgram("run nobody/nothing -p x", cache), kBadInput, {"nobody/nothing", "hf download nobody/nothing"});
  Expect(RunProgram("run /no/such/folder -p x", cache), kBadInput, {"/no/such/folder"});
  Expect(RunProgram("run nothing.gguf -p x", cache), kBadInput, {"nothing.gguf"});
  Expect(RunProgram("run '" + dir_.path() + "' -p x", cache), kBadInput, {dir_.path()});
  Expect(RunProgram("run '" + testing::Repo("CMakeLists.txt") + "' -p x", cache), kUsage, {"CMakeLists.txt", ".gguf"});
}

TEST_F(BadInput, GgufFiles) {
  const std::string good = testing::Repo("tests/data/checkpoints/llamacpp-q2-k/q2-k.gguf"), bad = dir_.File("bad.gguf");
  const auto size = std::filesystem::file_size(good);
  for (const uintmax_t keep : {size - 1, size / 2, uintmax_t{5000}, uintmax_t{20}, uintmax_t{3}, uintmax_t{0}}) {
    SCOPED_TRACE(keep);
    std::filesystem::copy_file(good, bad, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(bad, keep);
    Expect(RunProgram("run '" + bad + "' -p x --threads 1"), kBadInput, {bad});
  }
}

TEST_F(BadInput, ComparingDifferentVocabularies) {
  const std::string text = dir_.File("text.txt");
  std::ofstream out(text);
  for (int i = 0; i < 200; ++i) out << "Once upon a time there was a boat. ";
  out.close();
  Expect(RunProgram(fmt::format("eval '{}' --text '{}' --context 16 --windows 2 --against '{}' --threads 1", WithTokenizer(), text,
                                Small())),
         kUsage, {WithTokenizer(), Small(), "512", "vocabulary"});
}

TEST_F(BadInput, AContextLargerThanMemory) {
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1 --ids --threads 1 --context 2000000000", WithTokenizer())), kEnvironment,
         {WithTokenizer(), "K/V cache", "2000000000", "--context"});
}

TEST_F(BadInput, RanksThatDoNotDivide) {
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1 --ids --tp 3 --threads 3", WithTokenizer())), kUnsupported,
         {"4 attention heads", "3 ranks", "--tp may be"});
  Expect(RunProgram(fmt::format("run '{}' --prompt-ids 1 --ids --tp 0", WithTokenizer())), kUsage, {"--tp"});
}

// The program is between two tokens: it has asked for its prompt, so the model is loaded; then the file shrinks.
TEST_F(BadInput, AModelFileThatShrinksWhileItRuns) {
  EditableModel::Read(WithTokenizer()).Write(Folder());
  int input[2], output[2];
  ASSERT_EQ(pipe(input), 0);
  ASSERT_EQ(pipe(output), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    dup2(input[0], STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    dup2(output[1], STDERR_FILENO);
    for (const int fd : {input[0], input[1], output[0], output[1]}) close(fd);
    execl(NIBBLE_PROGRAM, NIBBLE_PROGRAM, "run", Folder().c_str(), "--threads", "1", "--max-tokens", "4", nullptr);
    _exit(99);
  }
  close(output[1]);
  ASSERT_EQ(write(input[1], "Once", 4), 4);
  int unread = 1;
  for (int i = 0; i < 6000 && unread > 0; ++i) {
    usleep(10000);
    ASSERT_EQ(ioctl(input[1], FIONREAD, &unread), 0);
  }
  close(input[0]);
  EXPECT_EQ(unread, 0) << "the program never read its prompt";
  std::filesystem::resize_file(Weights(), 4096);
  close(input[1]);
  std::string said;
  char buffer[1024];
  for (ssize_t got = 0; (got = read(output[0], buffer, sizeof buffer)) > 0;) said.append(buffer, static_cast<size_t>(got));
  close(output[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status) << "\n" << said;
  EXPECT_EQ(WEXITSTATUS(status), kEnvironment) << said;
  EXPECT_THAT(said, AllOf(HasSubstr(Weights()), HasSubstr("shortened")));
}

}  // namespace
}  // namespace nibble
