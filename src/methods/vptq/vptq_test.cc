// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "formats/packing/bit_stream.h"
#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

// Vectors of 2 rows, 16 centroids and 4 residuals (6 bits a field), 2 groups of 3 columns, 1 outlier column, a permutation.
struct VptqModule {
  std::vector<uint32_t> indices = std::vector<uint32_t>(2 * 2), outlier = {5, 2};
  std::vector<float> centroids = std::vector<float>(2 * 16 * 2), residuals = std::vector<float>(2 * 4 * 2),
                     outlier_centroids = std::vector<float>(8 * 4), scale = {1, 2, 3, 4, 5, 6, 7}, bias = {0, 1, 0, 1, 0, 1, 0};
  std::vector<int32_t> perm = {3, 0, 6, 1, 5, 2, 4};
  std::vector<StoredTensor> tensors = std::vector<StoredTensor>(8);

  static uint8_t Code(size_t group, size_t line, size_t column) {
    return static_cast<uint8_t>((7 * group + 11 * line + 13 * column) % 64);
  }

  Result<LinearPart> Load(const char* config_text) {
    for (size_t g = 0; g < 2; ++g)
      for (size_t line = 0; line < 2; ++line) {
        const uint8_t codes[3] = {Code(g, line, 0), Code(g, line, 1), Code(g, line, 2)};
        EncodeDenseStream(codes, 3, 6, &indices[g * 2 + line], 1);
      }
    for (size_t i = 0; i < centroids.size(); ++i) centroids[i] = static_cast<float>(i);
    for (size_t i = 0; i < residuals.size(); ++i) residuals[i] = 0.01f * static_cast<float>(i);
    for (size_t i = 0; i < outlier_centroids.size(); ++i) outlier_centroids[i] = 1000 + static_cast<float>(i);
    tensors[0].view = TensorView(indices.data(), DType::kI32, {2, 2, 1});
    tensors[1].view = TensorView(centroids.data(), DType::kF32, {2, 32});
    tensors[2].view = TensorView(residuals.data(), DType::kF32, {2, 8});
    tensors[3].view = TensorView(outlier.data(), DType::kI32, {1, 1, 1});
    tensors[4].view = TensorView(outlier_centroids.data(), DType::kF32, {1, 32});
    tensors[5].view = TensorView(scale.data(), DType::kF32, {7});
    tensors[6].view = TensorView(bias.data(), DType::kF32, {7});
    tensors[7].view = TensorView(perm.data(), DType::kI32, {7});
    const auto config = FindQuantization("vptq")->from_config(*ParseJson(config_text, "test"), {"config.json"});
    if (!config) return tl::unexpected<Error>(config.error());
    const auto method = (*config)->GetQuantMethod({.name = "m"}).value();
    BoundParams params{.name = "m", .n = 4, .k = 7};
    const char* names[] = {"indices",
                           "centroids.weight",
                           "res_centroids.weight",
                           "outlier_indices",
                           "outlier_centroids.weight",
                           "weight_scale",
                           "weight_bias",
                           "perm"};
    for (size_t i = 0; i < 8; ++i) params.params.emplace_back(names[i], &tensors[i]);
    return method->MakeWeight(params);
  }
};
constexpr const char* kVptqConfig =
    R"({"config_for_layers":{"m":{"vector_lens":[4,2],"num_centroids":[8,16],"num_res_centroids":[-1,4],"group_num":2,"outlier_size":1}}})";

// GPTQModel's: one setting for all modules; groups and outlier columns stand in the tensors.
constexpr const char* kOneForAll =
    R"({"vector_lens":[4,2],"num_centroids":[8,16],"num_res_centroids":[-1,4],"group_num":-1,"npercent":15.0})";

class VptqSettings : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, VptqSettings, ::testing::Values(kVptqConfig, kOneForAll));

TEST_P(VptqSettings, PutVectorsAndColumnsInPlace) {
  VptqModule module;
  const auto part = module.Load(GetParam());
  ASSERT_TRUE(part) << part.error().ToString();
  std::vector<float> out(4 * 7);
  DecodeRows(*part->weight, {0, 4}, {0, 7}, out.data());
  for (size_t row = 0; row < 4; ++row)
    for (size_t stored = 0; stored < 7; ++stored) {
      float wanted;
      if (stored == 0) {
        wanted = 1000 + static_cast<float>(5 * 4 + row);
      } else {
        const size_t group = (stored - 1) / 3, code = VptqModule::Code(group, row / 2, (stored - 1) % 3);
        wanted = module.centroids[group * 32 + code % 16 * 2 + row % 2] + module.residuals[group * 8 + code / 16 * 2 + row % 2];
      }
      const auto column = static_cast<size_t>(module.perm[stored]);
      EXPECT_EQ(out[row * 7 + column], wanted * module.scale[column] + module.bias[column]) << row << " " << stored;
    }
}

TEST(Vptq, RefusesWhatDoesNotFit) {
  VptqModule module;
  module.perm[2] = 3;
  EXPECT_EQ(module.Load(kVptqConfig).error().code, Code::kCorrupt);
  module = VptqModule();
  EXPECT_EQ(module.Load(R"({"config_for_layers":{"m":{"vector_lens":[-1,2],"num_centroids":[-1,16],"group_num":2}}})").error().code,
            Code::kCorrupt);
  EXPECT_EQ(module.Load(R"({"config_for_layers":{"m":{"vector_lens":[-1,0],"num_centroids":[-1,16]}}})").error().code,
            Code::kCorrupt);
  EXPECT_EQ(module.Load("{}").error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace nibble
