// SPDX-License-Identifier: Apache-2.0
// Checkpoints that the real tools wrote, against the logits that the tools compute from them (shared data, about 100 small models).
#include "methods/checkpoint_test.h"
#include "support/models.h"

namespace nibble {
namespace {

using testing::Golden;
using testing::TestOptions;

enum Expectation {
  kFloat,      // runs; the tool computed with float activations
  kQuantized,  // runs; the tool quantized activations as the checkpoint demands
  kRounded,    // runs; float activations, which the tool's kernel rounded somewhere to 16 bits
  kKnifeEdge,  // as kQuantized; one value lies so near a border that two tools with the same weights and rules differ there too
  kNearTies,   // runs; the tool sums codes as integers, so that near ties fall to other sides than with f32 sums
};

struct CheckpointCase {
  const char* name;
  Expectation expectation;
};
void PrintTo(const CheckpointCase& c, std::ostream* out) { *out << c.name; }

constexpr CheckpointCase kCheckpoints[] = {
    {"autoawq-gemm-g128", kFloat},
    {"autoawq-marlin-g128", kFloat},
    {"gptqmodel-2bit-g64", kFloat},
    {"gptqmodel-3bit-g128", kFloat},
    {"gptqmodel-4bit-channel", kFloat},
    {"gptqmodel-4bit-g128-asym-desc", kFloat},
    {"gptqmodel-4bit-g128-asym-gptq-v2", kFloat},
    {"gptqmodel-4bit-g128-sym", kFloat},
    {"gptqmodel-awq-gemm-g128", kFloat},
    {"gptqmodel-awq-gemv-fast-g128", kFloat},
    {"gptqmodel-awq-gemv-g128", kFloat},
    {"gptqmodel-dynamic", kFloat},
    {"gptqmodel-embed-both", kFloat},
    {"gptqmodel-fp8-row", kFloat},
    {"gptqmodel-lm-head", kFloat},
    {"gptqmodel-rotation-hadamard", kFloat},
    {"hf-fp8-block128", kFloat},
    {"llamacpp-iq4-xs", kFloat},
    {"llamacpp-q2-k", kFloat},
    {"llamacpp-q4-k-m", kFloat},
    {"llamacpp-q4-k-m-split", kFloat},
    {"llamacpp-q8-0", kFloat},
    {"llamacpp-tied-q4-0", kFloat},
    {"llmcompressor-moe-mixtral-w4a16-g128", kFloat},
    {"llmcompressor-old-w4a16-g128-gptq-actorder-group", kFloat},
    {"llmcompressor-quip-uv-hadamard-block64-w4a16", kFloat},
    {"llmcompressor-spinquant-r1r2r4-block64-w4a16", kFloat},
    {"llmcompressor-w3a16-g64-asym-rtn", kFloat},
    {"llmcompressor-w4a16-g128-asym-gptq-actorder-weight", kFloat},
    {"llmcompressor-w4a16-g128-rtn", kFloat},
    {"llmcompressor-w4a16-g128-rtn-sharded", kFloat},
    {"llmcompressor-fp8-block", kQuantized},
    {"llmcompressor-fp8-dynamic", kQuantized},
    {"llmcompressor-fp8-static", kQuantized},
    {"llmcompressor-w4a8-g128-pack-quantized", kQuantized},
    {"llmcompressor-w4afp8-g128", kQuantized},
    {"llmcompressor-w8a8-dynamic-smoothquant-gptq", kQuantized},
    {"llmcompressor-w8a8-dynamic-token-asym", kQuantized},
    {"llmcompressor-w8a8-static-tensor-asym", kQuantized},
    {"autoround-mlx-w4g64-asym", kFloat},
    {"autoround-mxint4", kQuantized},
    {"autoround-nvfp4", kQuantized},
    {"autoround-w2g64-asym", kFloat},
    {"autoround-w4-mixed-bits", kFloat},
    {"autoround-w4g128-auto-awq-packing", kFloat},
    {"autoround-w4g128-sym", kFloat},
    {"bnb-fp4", kRounded},
    {"bnb-int8", kQuantized},
    {"bnb-nf4", kRounded},
    {"bnb-nf4-double-quant", kRounded},
    {"bnb-nf4-double-quant-storage-f32", kRounded},
    {"gptqmodel-5bit-g128-gptq-p", kFloat},
    {"gptqmodel-gguf-q4-k-m", kFloat},
    {"gptqmodel-paroquant", kRounded},
    {"gptqmodel-qqq-g128", kQuantized},
    {"hf-bitnet", kQuantized},
    {"hqq-4bit-g64", kFloat},
    {"hqq-hf-2bit-g64-axis0", kFloat},
    {"hqq-hf-3bit-g64", kFloat},
    {"hqq-hf-4bit-g64", kFloat},
    {"llamacpp-iq1-s", kFloat},
    {"llamacpp-iq2-xxs", kFloat},
    {"llamacpp-mxfp4", kFloat},
    {"llamacpp-nvfp4", kFloat},
    {"llamacpp-tq2-0", kFloat},
    {"llmcompressor-mixed-nvfp4-mlp-fp8-attn", kQuantized},
    {"llmcompressor-moe-qwen3moe-nvfp4", kQuantized},
    {"llmcompressor-mxfp4", kQuantized},
    {"llmcompressor-mxfp8", kQuantized},
    {"llmcompressor-nvfp4-kv-fp8", kQuantized},
    {"llmcompressor-nvfp4a16-awq", kFloat},
    {"llmcompressor-old-marlin24-w4a16-g128", kFloat},
    {"llmcompressor-old-sparse24-bitmask-fp8-dynamic", kFloat},
    {"mlxlm-4bit-g64", kFloat},
    {"modelopt-auto-nvfp4-fp8", kQuantized},
    {"modelopt-fp8-kv-fp8", kQuantized},
    {"modelopt-fp8-pc-pt", kQuantized},
    {"modelopt-int4-awq", kFloat},
    {"modelopt-int8-sq", kQuantized},
    {"modelopt-nvfp4-awq-full", kQuantized},
    {"modelopt-nvfp4-kv-nvfp4-affine", kQuantized},
    {"modelopt-nvfp4-svdquant", kQuantized},
    {"modelopt-w4a8-awq", kQuantized},
    {"modelopt-w4a8-nvfp4-fp8", kQuantized},
    {"quanto-qint4", kFloat},
    {"quark-fp8-kv-fp8", kQuantized},
    {"quark-int4-fp8", kQuantized},
    {"quark-int4-wo-128", kFloat},
    {"quark-int8-smoothquant", kQuantized},
    {"quark-mixed-mxfp4-fp8-layers", kQuantized},
    {"quark-mxfp4", kKnifeEdge},
    {"quark-mxfp6-e3m2", kQuantized},
    {"quark-nvfp4", kQuantized},
    {"quark-uint4-wo-128-awq", kFloat},
    {"torchao-float8-dyn-act-per-row", kQuantized},
    {"torchao-int4-weight-only-g32", kFloat},
    {"torchao-int8-dyn-act-int4-weight-g32", kQuantized},
    {"torchao-int8-dyn-act-int8-weight", kNearTies},
    {"torchao-int8-weight-only", kFloat},
    {"torchao-int8-weight-only-bin", kFloat},
    {"torchao-intx-int3-weight-only-g64-asym", kFloat},
    {"torchao-mxfp8", kQuantized},
    {"torchao-nvfp4-dyn-act", kQuantized},
};

// Float activations: only the order of f32 sums differs. Quantized ones: a value near a rounding border may fall to either side.
constexpr double kFloatKl = 1e-6, kQuantizedKl = 1e-4, kBorderKl = 2e-4;

bool IsQuantized(Expectation expectation) { return expectation != kFloat && expectation != kRounded; }
double BoundOf(Expectation expectation) {
  if (expectation == kNearTies || expectation == kKnifeEdge) return kBorderKl;
  return IsQuantized(expectation) || expectation == kRounded ? kQuantizedKl : kFloatKl;
}

class Checkpoints : public ::testing::TestWithParam<CheckpointCase> {
 protected:
  void SetUp() override {
    if (testing::Checkpoints().empty()) GTEST_SKIP() << "needs the shared data: data/checkpoints.tar.xz";
    folder_ = testing::Checkpoints() + "/" + GetParam().name;
    ASSERT_TRUE(std::filesystem::exists(folder_)) << folder_;
    path_ = folder_;
    std::vector<std::string> gguf;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      if (entry.path().extension() == ".gguf") gguf.push_back(entry.path().string());
    if (!gguf.empty()) path_ = *std::min_element(gguf.begin(), gguf.end());
  }

  // float_activations: and a float cache, whatever the checkpoint says.
  static Result<std::unique_ptr<Engine>> Open(const std::string& path, bool float_activations) {
    EngineOptions options = TestOptions();
    options.load.ignore_activation_scheme = float_activations;
    options.load.batch_scales = true;  // the golden rows are the tool's batch
    options.max_sequences = 2;
    if (float_activations) options.kv_dtype = DType::kF32;
    return testing::OpenModel(path, options);
  }

  static int PositionCount(const Golden& golden) {
    return static_cast<int>(static_cast<int64_t>(golden.logits.size()) / golden.vocabulary);
  }
  static int EqualPositions(const Golden& golden, const std::vector<float>& logits) {
    int equal = 0;
    for (int64_t row = 0; row < PositionCount(golden); ++row) {
      float worst = 0;
      for (int64_t i = row * golden.vocabulary; i < (row + 1) * golden.vocabulary; ++i)
        worst = std::max(worst, std::fabs(golden.logits[static_cast<size_t>(i)] - logits[static_cast<size_t>(i)]));
      equal += worst < 1e-3f;
    }
    return equal;
  }

  void ExpectKl(Engine& engine, const std::string& golden_file, double bound) {
    Golden golden = testing::ReadGolden(folder_ + "/expected/" + golden_file);
    ASSERT_TRUE(golden.ok());
    if (golden.tokens.empty()) golden.tokens = testing::ReadGolden(folder_ + "/expected/logits.safetensors").tokens;
    ASSERT_EQ(golden.vocabulary, engine.vocab());
    const std::vector<float> logits = testing::Logits(engine, golden.tokens);
    const double kl = testing::MeanKl(golden.logits, logits, golden.vocabulary);
    std::printf("%-52s %-28s KL %9.2e   max difference %.2e   positions equal within rounding: %d of %d\n", GetParam().name,
                golden_file.c_str(), kl, static_cast<double>(testing::WorstDifference(logits, golden.logits)),
                EqualPositions(golden, logits), PositionCount(golden));
    EXPECT_LT(kl, bound);
  }

  std::string folder_, path_;
};

TEST_P(Checkpoints, GivesTheToolsLogits) {
  auto engine = Open(path_, !IsQuantized(GetParam().expectation));
  ASSERT_TRUE(engine) << engine.error().ToString();
  ExpectKl(**engine, "logits.safetensors", BoundOf(GetParam().expectation));
}

// Of these the tool gave a second result, with the same weights and float activations.
constexpr CheckpointCase kFloatActivations[] = {
    {"llmcompressor-fp8-block", kFloat},
    {"llmcompressor-fp8-dynamic", kFloat},
    {"llmcompressor-fp8-static", kFloat},
    {"llmcompressor-mixed-nvfp4-mlp-fp8-attn", kFloat},
    {"llmcompressor-moe-qwen3moe-nvfp4", kFloat},
    {"llmcompressor-mxfp4", kFloat},
    {"llmcompressor-mxfp8", kFloat},
    {"llmcompressor-nvfp4-kv-fp8", kFloat},
    {"llmcompressor-w4a8-g128-pack-quantized", kFloat},
    {"llmcompressor-w4afp8-g128", kFloat},
    {"llmcompressor-w8a8-dynamic-smoothquant-gptq", kFloat},
    {"llmcompressor-w8a8-dynamic-token-asym", kFloat},
    {"llmcompressor-w8a8-static-tensor-asym", kFloat},
};
class FloatActivations : public Checkpoints {};
TEST_P(FloatActivations, GiveTheToolsLogits) {
  auto engine = Open(path_, true);
  ASSERT_TRUE(engine) << engine.error().ToString();
  ExpectKl(**engine, "logits_float_act.safetensors", kFloatKl);
}

std::string CheckpointName(const ::testing::TestParamInfo<CheckpointCase>& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, FloatActivations, ::testing::ValuesIn(kFloatActivations), CheckpointName);
INSTANTIATE_TEST_SUITE_P(All, Checkpoints, ::testing::ValuesIn(kCheckpoints), CheckpointName);

TEST(CheckpointList, NamesEveryCheckpoint) {
  if (testing::Checkpoints().empty()) GTEST_SKIP() << "needs the shared data: data/checkpoints.tar.xz";
  std::set<std::string> listed;
  for (const CheckpointCase& c : kCheckpoints) listed.insert(c.name);
  for (const auto& entry : std::filesystem::directory_iterator(testing::Checkpoints()))
    EXPECT_TRUE(listed.count(entry.path().filename().string())) << entry.path() << " is not tested";
}

}  // namespace
}  // namespace nibble
