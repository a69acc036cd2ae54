// SPDX-License-Identifier: Apache-2.0
// Experts whose modules are stacked: every tensor of "switch_mlp.gate_proj" has a leading dimension of experts.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/safetensors_writer.h"
#include "methods/checkpoint.h"

namespace nibble {
namespace {

TEST(StackedExperts, AnyMethodReadsThemOneByOne) {
  const std::string folder = ::testing::TempDir() + "/stacked_experts";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json") << R"({"model_type":"llama","quantization":{"bits":4,"group_size":32}})";
  const std::string module = "model.layers.0.mlp.switch_mlp.gate_proj";
  constexpr int64_t kExperts = 2, kN = 3, kK = 32;
  // Expert e, row n: all codes are 1 + e + n, scale 2, bias -e.
  std::vector<uint32_t> words;
  std::vector<float> scales, biases;
  for (uint32_t e = 0; e < kExperts; ++e) {
    for (uint32_t n = 0; n < kN; ++n) {
      for (int i = 0; i < kK / 8; ++i) words.push_back((1 + e + n) * 0x11111111u);
      scales.push_back(2);
      biases.push_back(-static_cast<float>(e));
    }
  }
  auto writer = SafetensorsWriter::CreateFolder(folder, {{module + ".weight", DType::kU32, {kExperts, kN, kK / 8}},
                                                         {module + ".scales", DType::kF32, {kExperts, kN, 1}},
                                                         {module + ".biases", DType::kF32, {kExperts, kN, 1}}});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->Write(module + ".weight", std::as_bytes(std::span<const uint32_t>(words))));
  ASSERT_TRUE(writer->Write(module + ".scales", std::as_bytes(std::span<const float>(scales))));
  ASSERT_TRUE(writer->Write(module + ".biases", std::as_bytes(std::span<const float>(biases))));
  ASSERT_TRUE(writer->Commit());

  const auto checkpoint = Checkpoint::Open(folder, CheckpointKind::kHubFolder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto expert = [&](int64_t e) {
    return (*checkpoint)->Expert({"model.layers.0.mlp.experts", {}, e, MoeMatrix::kGate, kN, kK});
  };
  for (int64_t e = 0; e < kExperts; ++e) {
    const auto part = expert(e);
    ASSERT_TRUE(part) << part.error().ToString();
    std::vector<float> values(kN * kK);
    DecodeRows(*part->weight, {0, kN}, {0, kK}, values.data());
    for (int64_t n = 0; n < kN; ++n) EXPECT_EQ(values[static_cast<size_t>(n * kK + 5)], static_cast<float>(2 * (1 + e + n) - e));
  }
  EXPECT_EQ(expert(2).error().code, Code::kCorrupt);
  EXPECT_TRUE((*checkpoint)->Unclaimed().empty());
}

}  // namespace
}  // namespace nibble
