// SPDX-License-Identifier: Apache-2.0
// The published formulas on small tensors: what the tool itself writes needs a GPU to make.
#include <gtest/gtest.h>

#include "formats/transform.h"
#include "io/tensor_index.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kN = 2, kK = 64;

std::unique_ptr<QuantizationConfig> ParseFpQuant(const std::string& text) {
  auto config = FindQuantization("fp_quant")->from_config(*ParseJson(text, "test"), {.where = "test"});
  EXPECT_TRUE(config) << config.error().ToString();
  return config ? *std::move(config) : nullptr;
}

struct Layer {
  std::vector<uint8_t> codes, scales;
  std::vector<float> matrix;
  float weight_global = 1, act_global = 1;
  StoredTensor tensors[5];

  Layer(int64_t group, int64_t block)
      : codes(kN * kK / 2), scales(static_cast<size_t>(kN * kK / group)), matrix(static_cast<size_t>(block * block)) {
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * 37 + 11);
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<uint8_t>(group == 16 ? 0x30 + i % 16 : 125 + i % 4);
    for (int64_t i = 0; i < block; ++i) matrix[static_cast<size_t>(i * block + (i + 1) % block)] = 1;  // x' = x turned by one
  }
  BoundParams Bind(int64_t group, int64_t block) {
    tensors[0].view = TensorView(codes.data(), DType::kU8, {kN, kK / 2});
    tensors[1].view = TensorView(scales.data(), DType::kU8, {kN, kK / group});
    tensors[2].view = TensorView(&weight_global, DType::kF32, {1});
    tensors[3].view = TensorView(&act_global, DType::kF32, {1});
    tensors[4].view = TensorView(matrix.data(), DType::kF32, {block, block});
    BoundParams params{.name = "a", .n = kN, .k = kK};
    const char* names[] = {"qweight", "scales", "weight_global_scale", "act_global_scale", "forward_hadamard_matrix"};
    for (size_t i = 0; i < 5; ++i) params.params.emplace_back(names[i], &tensors[i]);
    return params;
  }
};

Result<LinearPart> Make(const std::string& json, Layer& layer, int64_t group, int64_t block) {
  const auto config = ParseFpQuant(json);
  NIBBLE_TRY(const auto method, config->GetQuantMethod({.name = "a", .has = [](std::string_view s) { return s == "qweight"; }}));
  return method->MakeWeight(layer.Bind(group, block));
}

void ExpectFpQuantWeights(const Layer& layer, const StoredWeight& weight, int64_t group, DType scale_type) {
  std::vector<float> got(kN * kK);
  DecodeRows(weight, {0, kN}, {0, kK}, got.data());
  for (int64_t i = 0; i < kN * kK; ++i) {
    const auto nibble = static_cast<uint8_t>(layer.codes[static_cast<size_t>(i / 2)] >> (i % 2 * 4) & 15);
    const float scale = DecodeSmallFloat(scale_type, layer.scales[static_cast<size_t>(i / group)]) / layer.weight_global;
    EXPECT_EQ(got[static_cast<size_t>(i)], scale * DecodeSmallFloat(DType::kE2M1, nibble)) << i;
  }
}

TEST(FpQuant, Nvfp4WeightsAndActivations) {
  Layer layer(16, 32);
  layer.weight_global = layer.act_global = 10;
  const auto part = Make(R"({"forward_dtype":"nvfp4","forward_method":"abs_max","hadamard_group_size":32})", layer, 16, 32);
  ASSERT_TRUE(part) << part.error().ToString();
  ExpectFpQuantWeights(layer, *part->weight, 16, DType::kE4M3);
  // S = e4m3(10 * 3 / 6) = 5, codes e2m1(x * 10 / 5)
  std::vector<float> x(16, 0.0f), y(16);
  x[0] = 3, x[1] = -0.3f, x[2] = 1.1f;
  QuantizeActivationRow(part->act, x.data(), 16, y.data(), nullptr, nullptr);
  EXPECT_EQ(std::vector<float>(y.begin(), y.begin() + 4), (std::vector<float>{3, -0.25f, 1, 0}));
  ASSERT_EQ(part->weight->in.size(), 1u);
  std::vector<float> row(kK), scratch(kK);
  row[0] = 1;
  ASSERT_TRUE(ApplyTransforms(part->weight->in, row.data(), kK, scratch.data()));
  EXPECT_EQ(row[1], 1);
}

TEST(FpQuant, Mxfp4ScalesOfBothMethods) {
  Layer layer(32, 32);
  layer.weight_global = 3;
  const auto largest = Make(R"({"forward_dtype":"mxfp4","forward_method":"abs_max"})", layer, 32, 32);
  ASSERT_TRUE(largest) << largest.error().ToString();
  ExpectFpQuantWeights(layer, *largest->weight, 32, DType::kE8M0);
  std::vector<float> x(32, 0.0f), y(32);
  x[0] = 5, x[1] = 1;  // scale 4 / 3: 5 is 3.75 steps, 1 is 0.75 steps, a tie that goes to the even code
  QuantizeActivationRow(largest->act, x.data(), 32, y.data(), nullptr, nullptr);
  EXPECT_FLOAT_EQ(y[0], 4 * 4.0f / 3);
  EXPECT_FLOAT_EQ(y[1], 4.0f / 3);
  const auto quest = Make(R"({"forward_dtype":"mxfp4","forward_method":"quest"})", layer, 32, 32);
  ASSERT_TRUE(quest) << quest.error().ToString();
  for (size_t i = 0; i < 32; ++i) x[i] = i % 2 == 0 ? 4.2f : -4.2f;  // deviation 4.2: 2.046, scale 2
  QuantizeActivationRow(quest->act, x.data(), 32, y.data(), nullptr, nullptr);
  EXPECT_EQ(y[0], 4);
  EXPECT_EQ(y[1], -4);
}

TEST(FpQuant, RefusesWhatContradictsItself) {
  const auto fails = [](const std::string& text) {
    return FindQuantization("fp_quant")->from_config(*ParseJson(text, "test"), {.where = "test"}).error().code;
  };
  EXPECT_EQ(fails(R"({"forward_dtype":"nvfp4","forward_method":"quest"})"), Code::kCorrupt);
  EXPECT_EQ(fails(R"({"forward_dtype":"mxfp8"})"), Code::kUnsupported);
  EXPECT_EQ(fails(R"({"hadamard_group_size":0})"), Code::kCorrupt);
  Layer layer(32, 64);
  EXPECT_FALSE(Make(R"({"hadamard_group_size":48})", layer, 32, 64));
}

}  // namespace
}  // namespace nibble
