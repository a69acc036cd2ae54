// SPDX-License-Identifier: Apache-2.0
// A model cut over ranks gives what the whole one gives, up to the order of the sums over ranks: same logits within rounding, same
// tokens.
#include "methods/checkpoint_test.h"
#include "support/models.h"

namespace nibble {
namespace {

using testing::TestOptions;
using testing::Tokens;

struct ParallelCase {
  const char* path;  // in the repository ("tests/..."), or a shared checkpoint
  // Activations rounded by the model: a sum in another order may move a value over a rounding border, which is a whole step of
  // 1/127 or 1/16 of it; the logits then differ by more than sums do.
  bool quantized_activations = false;
};
void PrintTo(const ParallelCase& c, std::ostream* out) { *out << c.path; }

class TensorParallel : public ::testing::TestWithParam<ParallelCase> {
 protected:
  void SetUp() override {
    const std::string path = GetParam().path;
    if (path.starts_with("tests/")) {
      path_ = testing::Repo(path);
      return;
    }
    if (testing::Checkpoints().empty()) GTEST_SKIP() << "needs the shared data: data/checkpoints.tar.xz";
    path_ = testing::Checkpoints() + "/" + path;
  }
  std::string path_;
};

TEST_P(TensorParallel, RanksAgreeWithOne) {
  auto one = testing::OpenModel(path_);
  ASSERT_TRUE(one) << one.error().ToString();
  const auto vocabulary = static_cast<int32_t>((*one)->vocab());
  std::vector<Tokens> rows(2);
  for (int32_t i = 0; i < 40; ++i) rows[static_cast<size_t>(i % 3 == 0)].push_back((i * 37 + 11) % vocabulary);
  const auto wanted = testing::Logits(**one, rows);
  const Tokens wanted_tokens = testing::Greedy(**one, rows[0], 12);
  for (const int ranks : {2, 3}) {
    SCOPED_TRACE(ranks);
    EngineOptions options = TestOptions();
    options.load.ranks = ranks;
    auto cut = testing::OpenModel(path_, options);
    if (!cut && ranks == 3) {
      EXPECT_EQ(cut.error().code, Code::kUnsupported) << cut.error().ToString();
      EXPECT_NE(cut.error().message.find("--tp may be 1, 2"), std::string::npos) << cut.error().ToString();
      continue;  // the heads do not permit it
    }
    ASSERT_TRUE(cut) << cut.error().ToString();
    const auto got = testing::Logits(**cut, rows);
    std::printf("%-50s ranks %d   max difference %.2e of %.2f   KL %.1e\n", GetParam().path, ranks,
                static_cast<double>(testing::WorstDifference(got, wanted)), static_cast<double>(testing::Largest(wanted)),
                testing::MeanKl(wanted, got, vocabulary));
    if (GetParam().quantized_activations)
      EXPECT_LT(testing::MeanKl(wanted, got, vocabulary), 1e-4);
    else
      testing::ExpectClose(got, wanted);
    EXPECT_EQ(testing::Greedy(**cut, rows[0], 12), wanted_tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, TensorParallel,
    ::testing::Values(ParallelCase{"tests/data/models/tales-1m"}, ParallelCase{"tests/data/models/stories260K"},
                      ParallelCase{"tests/data/architectures/mixtral"}, ParallelCase{"tests/data/architectures/qwen3"},
                      ParallelCase{"tests/data/checkpoints/llamacpp-q2-k"}, ParallelCase{"gptqmodel-4bit-g128-sym"},
                      ParallelCase{"gptqmodel-4bit-g128-asym-desc"}, ParallelCase{"gptqmodel-3bit-g128"},
                      ParallelCase{"gptqmodel-rotation-hadamard"}, ParallelCase{"gptqmodel-awq-gemm-g128"},
                      ParallelCase{"gptqmodel-awq-gemv-fast-g128"}, ParallelCase{"hf-fp8-block128", true},
                      ParallelCase{"llamacpp-q4-k-m"}, ParallelCase{"llamacpp-q8-0"}, ParallelCase{"llamacpp-iq4-xs"},
                      ParallelCase{"llamacpp-tied-q4-0"}, ParallelCase{"llmcompressor-w4a16-g128-asym-gptq-actorder-weight"},
                      ParallelCase{"llmcompressor-old-w4a16-g128-gptq-actorder-group"},
                      ParallelCase{"llmcompressor-w8a8-dynamic-smoothquant-gptq", true},
                      ParallelCase{"llmcompressor-w8a8-dynamic-token-asym", true},
                      ParallelCase{"llmcompressor-w8a8-static-tensor-asym", true}, ParallelCase{"llmcompressor-fp8-block", true},
                      ParallelCase{"llmcompressor-fp8-dynamic", true}, ParallelCase{"llmcompressor-spinquant-r1r2r4-block64-w4a16"},
                      ParallelCase{"llmcompressor-moe-mixtral-w4a16-g128"}, ParallelCase{"llmcompressor-mxfp4", true},
                      ParallelCase{"llmcompressor-old-marlin24-w4a16-g128"},
                      ParallelCase{"llmcompressor-old-sparse24-bitmask-fp8-dynamic", true}, ParallelCase{"modelopt-int4-awq"},
                      ParallelCase{"modelopt-nvfp4-svdquant", true}, ParallelCase{"modelopt-w4a8-awq", true},
                      ParallelCase{"quark-fp8-kv-fp8", true}, ParallelCase{"quark-int4-fp8", true},
                      ParallelCase{"quark-mxfp6-e3m2", true}, ParallelCase{"quark-nvfp4", true},
                      ParallelCase{"quark-uint4-wo-128-awq"}),
    [](const auto& test) {
      std::string name = std::filesystem::path(test.param.path).filename().string();
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace nibble
