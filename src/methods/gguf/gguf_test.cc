// SPDX-License-Identifier: Apache-2.0
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "formats/transform.h"
#include "io/gguf.h"
#include "io/gguf_writer.h"
#include "methods/checkpoint.h"
#include "methods/checkpoint_test.h"
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

// Every matrix of `expected` (first rows, hub names and order), bit for bit.
void ExpectGgufWeights(const std::string& gguf, const std::string& expected_path) {
  const auto checkpoint = Checkpoint::Open(gguf, CheckpointKind::kGguf);
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto expected = OpenSafetensors(expected_path);
  ASSERT_TRUE(expected) << expected.error().ToString();
  int compared = 0;
  for (const StoredTensor& tensor : expected->tensors.tensors()) {
    SCOPED_TRACE(tensor.name);
    std::string module = tensor.name;
    if (module.ends_with(".weight")) module.resize(module.size() - 7);
    const Shape shape = testing::ModuleShape((*checkpoint)->config(), module);
    const auto part = (*checkpoint)->Linear({.name = module, .n = shape[0], .k = shape[1]});
    ASSERT_TRUE(part) << part.error().ToString();
    std::vector<float> got(static_cast<size_t>(tensor.shape.elems()));
    DecodeRows(*part->weight, {0, tensor.shape[0]}, {0, tensor.shape[1]}, got.data());
    int64_t wrong = 0;
    for (int64_t i = 0; i < tensor.shape.elems(); ++i)
      wrong += got[static_cast<size_t>(i)] != LoadScalar(tensor.view.dtype, tensor.view.data, i);
    EXPECT_EQ(wrong, 0) << Describe(*part->weight);
    ++compared;
  }
  EXPECT_GE(compared, 9);  // one layer, embedding, lm_head
}

TEST(GgufMethod, DecodesWhatLlamaCppDecodes) {
  const std::string folder = testing::Repo("tests/data/checkpoints/llamacpp-q2-k");
  ExpectGgufWeights(folder + "/q2-k.gguf", folder + "/expected/weights.safetensors");
}

TEST(GgufMethod, DecodesTheSharedCheckpoints) {
  NIBBLE_NEED_CHECKPOINT(first, "llamacpp-q8-0");
  const std::string root = std::filesystem::path(first).parent_path().string();
  for (const char* name :
       {"llamacpp-q8-0/q8-0.gguf", "llamacpp-q4-k-m/q4-k-m.gguf", "llamacpp-q4-k-m-split/q4-k-m-00004-of-00005.gguf",
        "llamacpp-iq4-xs/iq4-xs.gguf", "llamacpp-tied-q4-0/tied-q4-0.gguf", "llamacpp-iq1-s/iq1-s.gguf",
        "llamacpp-iq2-xxs/iq2-xxs.gguf", "llamacpp-mxfp4/mxfp4.gguf", "llamacpp-nvfp4/nvfp4.gguf", "llamacpp-tq2-0/tq2-0.gguf"}) {
    SCOPED_TRACE(name);
    const std::filesystem::path path = root + "/" + name;
    ExpectGgufWeights(path.string(), (path.parent_path() / "expected/weights.safetensors").string());
  }
}

TEST(GgufMethod, MakesAConfigAndClaimsEverything) {
  const auto checkpoint =
      Checkpoint::Open(testing::Repo("tests/data/checkpoints/llamacpp-q2-k/q2-k.gguf"), CheckpointKind::kGguf).value();
  const Json& config = checkpoint->config();
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["hidden_size"], 256);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["head_dim"], 64);
  EXPECT_EQ(config["vocab_size"], 512);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(config["rope_parameters"]["rope_theta"], 10000.0);
  EXPECT_THAT(checkpoint->quantization().Describe(), HasSubstr("Q2_K"));
  EXPECT_TRUE(checkpoint->Has("model.layers.1.post_attention_layernorm.weight"));
  for (const StoredTensor& tensor : checkpoint->tensors().tensors())
    EXPECT_TRUE(tensor.name.starts_with("model.") || tensor.name == "lm_head.weight") << tensor.name;
}

std::string Hub(const char* gguf, const char* model_type) {
  const auto hub = HubTensorName(gguf, *GgufRowsOf(model_type).at(0));
  return hub ? fmt::format("{}", fmt::join(hub->tensors, " ")) : "";
}

TEST(GgufMethod, MapsNames) {
  EXPECT_EQ(Hub("blk.31.ffn_down.weight", "llama"), "model.layers.31.mlp.down_proj.weight");
  EXPECT_EQ(Hub("blk.0.attn_q.bias", "qwen2"), "model.layers.0.self_attn.q_proj.bias");
  EXPECT_EQ(Hub("output.weight", "llama"), "lm_head.weight");
  EXPECT_EQ(Hub("output.weight", "gpt_neox"), "embed_out.weight");
  EXPECT_EQ(Hub("blk.3.ffn_gate_inp.weight", "mixtral"), "model.layers.3.block_sparse_moe.gate.weight");
  EXPECT_EQ(Hub("blk.7.ffn_down_exps.weight", "qwen3_moe"), "model.layers.7.mlp.experts.*.down_proj.weight");
  EXPECT_EQ(Hub("blk.1.ffn_up.weight", "phi3"), "model.layers.1.mlp.gate_proj.weight model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(Hub("blk.1.ffn_gate.weight", "phi3"), "");  // hidden: it is in ffn_up
  EXPECT_EQ(Hub("blk.1.attn_sinks.weight", "gpt_oss"), "model.layers.1.self_attn.sinks");
  EXPECT_EQ(Hub("blk.2.post_ffw_norm.weight", "olmo2"), "model.layers.2.post_feedforward_layernorm.weight");
  for (const char* name : {"blk.0.post_ffw_norm.weight", "blk.x.attn_q.weight", "blk..attn_q.weight", "blk.1", "output", "",
                           "blk.99999999.attn_q.weight", "v.blk.0.x"})
    EXPECT_EQ(Hub(name, "llama"), "") << name;
  EXPECT_TRUE(GgufRowsOf("mamba").empty());
}

// What the converter changed in the values, as rules.
TEST(GgufMethod, SaysWhatIsOtherInTheFile) {
  const auto rule = [](const char* gguf, const char* model_type) {
    return HubTensorName(gguf, *GgufRowsOf(model_type).at(0))->rule;
  };
  EXPECT_EQ(rule("blk.0.attn_norm.weight", "gemma2"), GgufName::kPlusOne);
  EXPECT_EQ(rule("output_norm.weight", "nemotron"), GgufName::kPlusOne);
  EXPECT_EQ(rule("output_norm.bias", "nemotron"), GgufName::kPlain);
  EXPECT_EQ(rule("blk.0.attn_k_b.weight", "deepseek_v2"), GgufName::kKeyRows);
  for (const auto& [type, permuted] : {std::pair("llama", true), std::pair("olmo", true), std::pair("granite", true),
                                       std::pair("qwen2", false), std::pair("cohere", false), std::pair("apertus", false)}) {
    EXPECT_EQ(HubTensorName("blk.0.attn_q.weight", *GgufRowsOf(type).at(0))->rope_rows, permuted) << type;
    EXPECT_FALSE(HubTensorName("blk.0.attn_v.weight", *GgufRowsOf(type).at(0))->rope_rows) << type;
  }
}

// Every name that a row may write is read back as what it was written for, and no two rows of a layer hide each other.
TEST(GgufMethod, EveryNameOfEveryArchitectureIsRead) {
  for (const auto& rows : GgufFamilyTable())
    for (const GgufArchitecture& row : rows) {
      EXPECT_TRUE(Json::accept(row.config)) << row.name;
      for (const std::string& name : GgufTensorNames(row, 1)) {
        const auto hub = HubTensorName(name, row);
        ASSERT_TRUE(hub) << row.name << " " << name;
        EXPECT_FALSE(hub->tensors.empty()) << row.name << " " << name;
        EXPECT_LE(name.size(), 63u);
      }
    }
}

// Small files made here: metadata of an architecture and the tensors that a test needs.
class MadeFile {
 public:
  explicit MadeFile(const std::string& arch) : arch_(arch) {
    keys.String("general.architecture", arch);
    for (const auto& [key, value] :
         {std::pair("embedding_length", 64u), std::pair("block_count", 1u), std::pair("context_length", 128u),
          std::pair("feed_forward_length", 96u), std::pair("attention.head_count", 4u), std::pair("attention.head_count_kv", 2u)})
      keys.U32(arch + "." + key, value);
    keys.F32(arch + ".attention.layer_norm_rms_epsilon", 1e-6f);
    Add("token_embd.weight", {10, 64});
  }
  void Add(const std::string& name, Shape shape, std::vector<float> values = {}) {
    values.resize(static_cast<size_t>(shape.elems()));
    tensors_.push_back({name, shape, 0});
    values_.push_back(std::move(values));
  }
  Result<std::unique_ptr<Checkpoint>> Open() {
    auto writer = GgufWriter::Create(dir_.File("a.gguf"), keys, tensors_);
    EXPECT_TRUE(writer) << writer.error().ToString();
    for (size_t i = 0; i < tensors_.size(); ++i) EXPECT_TRUE(writer->Write(tensors_[i].name, std::as_bytes(std::span(values_[i]))));
    EXPECT_TRUE(writer->Commit());
    return Checkpoint::Open(dir_.File("a.gguf"), CheckpointKind::kGguf);
  }
  GgufMetadataWriter keys;

 private:
  std::string arch_;
  testing::TempDir dir_;
  std::vector<GgufDeclaration> tensors_;
  std::vector<std::vector<float>> values_;
};

TEST(GgufMethod, CutsExpertsOutOfTheirTensor) {
  MadeFile file("qwen3moe");
  file.keys.U32("qwen3moe.expert_count", 3);
  file.keys.U32("qwen3moe.expert_used_count", 2);
  file.keys.U32("qwen3moe.expert_feed_forward_length", 2);
  std::vector<float> values(3 * 2 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  file.Add("blk.0.ffn_up_exps.weight", {3, 2, 64}, values);
  const auto checkpoint = file.Open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  EXPECT_EQ((*checkpoint)->config()["num_experts"], 3);
  EXPECT_EQ((*checkpoint)->config()["norm_topk_prob"], true);
  const auto part = (*checkpoint)->Expert({"model.layers.0.mlp.experts", {}, 2, MoeMatrix::kUp, 2, 64});
  ASSERT_TRUE(part) << part.error().ToString();
  std::vector<float> row(64);
  DecodeRows(*part->weight, {1, 2}, {0, 64}, row.data());
  EXPECT_EQ(row[0], 2 * 128 + 64);
}

TEST(GgufMethod, RecognizesTheLlama3Rope) {
  for (const bool damaged : {false, true}) {
    MadeFile file("llama");
    file.keys.F32("llama.rope.freq_base", 500000);
    // Llama 3.1, head size 16: divisors by its rule, factor 8, low 1, high 4, 8192 positions; computed independently.
    std::vector<float> divisors = {1, 1, 1, 1, 2.6945297f, 8, 8, 8};
    if (damaged) divisors[2] = 3;
    file.Add("rope_freqs.weight", {8}, divisors);
    const auto checkpoint = file.Open();
    ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
    const Json& rope = (*checkpoint)->config()["rope_parameters"];
    if (damaged) {  // no rule: the divisors themselves, for texts of every length
      EXPECT_EQ(rope["rope_type"], "longrope");
      EXPECT_EQ(rope["long_factor"], rope["short_factor"]);
      EXPECT_EQ(rope["long_factor"][2], 3);
      EXPECT_EQ(rope["attention_factor"], 1.0);
      continue;
    }
    EXPECT_EQ(rope["rope_type"], "llama3");
    EXPECT_EQ(rope["factor"], 8.0);
    EXPECT_EQ(rope["original_max_position_embeddings"], 8192);
    EXPECT_FALSE((*checkpoint)->Has("rope_freqs.weight"));
  }
}

TEST(GgufMethod, RecognizesTheProportionalRope) {
  for (const float factor : {1.0f, 4.0f}) {
    MadeFile file("gemma4");
    file.keys.U32("gemma4.attention.sliding_window_pattern", 1);  // a period: every layer sees everything
    file.keys.U32("gemma4.attention.key_length_swa", 8);
    file.Add("rope_freqs.weight", {8}, {factor, std::nextafter(factor, 9.0f), factor, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f});
    const auto checkpoint = file.Open();
    ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
    const Json& config = (*checkpoint)->config();
    Json wanted = {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.375}, {"rope_theta", 10000.0}};
    if (factor != 1) wanted["factor"] = factor;
    EXPECT_EQ(config["rope_parameters"]["full_attention"], wanted);
    EXPECT_EQ(config["global_head_dim"], 16);
  }
}

// Biases of permuted rows are put in order, fused rows are cut, norms lose the 1 that the converter added.
TEST(GgufMethod, UndoesWhatTheConverterDid) {
  MadeFile llama("llama");
  std::vector<float> values(64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  llama.Add("blk.0.attn_q.bias", {64}, values);
  auto checkpoint = llama.Open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto bias = (*checkpoint)->Vector("model.layers.0.self_attn.q_proj.bias", 64).value();
  EXPECT_THAT(std::vector<float>(bias.begin(), bias.begin() + 9), ::testing::ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 1));

  MadeFile phi("phi3");
  std::vector<float> rows(128 * 64);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i / 64);
  phi.Add("blk.0.attn_qkv.weight", {128, 64}, rows);
  checkpoint = phi.Open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto value = (*checkpoint)->Linear({.name = "model.layers.0.self_attn.v_proj", .n = 32, .k = 64}).value();
  float first = 0;
  DecodeRows(*value.weight, {0, 1}, {0, 1}, &first);
  EXPECT_EQ(first, 96);

  MadeFile gemma("gemma");
  gemma.Add("blk.0.attn_norm.weight", {64}, std::vector<float>(64, 1.5f));
  checkpoint = gemma.Open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  EXPECT_EQ((*checkpoint)->Vector("model.layers.0.input_layernorm.weight", 64).value()[0], 0.5f);
}

TEST(GgufMethod, RefusesWhatItCannotSay) {
  const auto fails = [](MadeFile& file, Code code) {
    const auto checkpoint = file.Open();
    if (checkpoint) return std::string("accepted");
    EXPECT_EQ(checkpoint.error().code, code) << checkpoint.error().ToString();
    return checkpoint.error().message;
  };
  MadeFile mamba("mamba");
  EXPECT_THAT(fails(mamba, Code::kUnsupported), HasSubstr("\"mamba\" is not supported in GGUF files; supported: "));
  MadeFile scaled("qwen2");
  scaled.keys.String("qwen2.rope.scaling.type", "longrope");
  EXPECT_THAT(fails(scaled, Code::kUnsupported), HasSubstr("longrope"));
  MadeFile biased("llama");
  biased.Add("blk.0.attn_q.bias", {60});
  EXPECT_THAT(fails(biased, Code::kCorrupt), HasSubstr("attn_q.bias"));
  MadeFile fused("phi3");
  fused.Add("blk.0.attn_qkv.weight", {100, 64});
  EXPECT_THAT(fails(fused, Code::kCorrupt), HasSubstr("100 rows, wanted 64 of q, 32 of k and 32 of v"));
  MadeFile layer("gemma4");
  layer.Add("blk.7.attn_qkv.weight", {128, 64});
  EXPECT_THAT(fails(layer, Code::kCorrupt), HasSubstr("layer 7, the model has 1"));
  MadeFile numbers("apertus");
  numbers.keys.F32s("xielu.alpha_p", std::vector<float>{});
  EXPECT_THAT(fails(numbers, Code::kCorrupt), HasSubstr("0 elements for 1 layers"));
  MadeFile adapter("llama");
  adapter.keys.String("general.type", "adapter");
  EXPECT_THAT(fails(adapter, Code::kUnsupported), HasSubstr("adapter"));
  MadeFile heads("llama");
  heads.keys.U32("llama.attention.key_length", 1u << 30);
  heads.keys.U32("llama.attention.value_length", 1u << 30);
  EXPECT_THAT(fails(heads, Code::kCorrupt), HasSubstr("not possible"));
}

TEST(GgufBlocks, ReadsGptqModelsFolder) {
  NIBBLE_NEED_CHECKPOINT(folder, "gptqmodel-gguf-q4-k-m");
  testing::ExpectDequantizedWeights(folder, folder + "/expected/weights.safetensors");
}

TEST(GgufBlocks, TypesAreBitsAndFormat) {
  const auto parse = [](const std::string& text) {
    return FindQuantization("gguf")->from_config(*ParseJson(text, "test"), {"config.json"});
  };
  const auto config =
      parse(R"({"bits":4,"format":"q_k_m","dynamic":{"+:.*down_proj":{"bits":6,"format":"q_k"},"-:.*layers.1.":{}}})");
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ((*config)->EstimateBits({.name = "model.layers.0.mlp.up_proj"}), 4.5);
  EXPECT_EQ((*config)->EstimateBits({.name = "model.layers.0.mlp.down_proj"}), 6.5625);
  EXPECT_EQ((*config)->EstimateBits({.name = "model.layers.1.mlp.down_proj"}), 0);
  EXPECT_EQ((*parse(R"({"bits":1,"format":"q_0_g128"})"))->Describe(), "gguf q1_0 blocks in safetensors");
  EXPECT_EQ(parse(R"({"bits":7,"format":"q_k"})").error().code, Code::kUnsupported);
  EXPECT_EQ(parse(R"({"quant_method":"gguf"})").error().code, Code::kUnsupported);
}

TEST(GgufMethod, ScalesTheProductOfNvfp4) {
  MadeFile file("qwen2");
  file.Add("blk.0.attn_output.weight", {64, 64}, std::vector<float>(64 * 64, 1));
  file.Add("blk.0.attn_output.scale", {1}, {0.25f});
  const auto checkpoint = file.Open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto part = (*checkpoint)->Linear({.name = "model.layers.0.self_attn.o_proj", .n = 64, .k = 64});
  ASSERT_TRUE(part) << part.error().ToString();
  ASSERT_EQ(part->weight->out.size(), 1u);
  std::vector<float> row(64, 2), scratch(64);
  ASSERT_TRUE(CheckTransforms(part->weight->out, 64));
  ASSERT_TRUE(ApplyTransforms(part->weight->out, row.data(), 64, scratch.data()));
  EXPECT_EQ(row, std::vector<float>(64, 0.5f));
}

}  // namespace
}  // namespace nibble
