// SPDX-License-Identifier: Apache-2.0
// Experts that are stacked in one tensor: in bytes (moe_wna16), or float and made int8 while loading (experts_int8).
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "methods/registry.h"

namespace nibble {
namespace {

TEST(MoeWna16, ReadsPublishedBytesOfOneExpert) {
  // One row of codes 0..15 is 10 32 54 .. fe; zero points 7 and 6 of rows 0 and 1 are one byte 0x67.
  const uint8_t row[] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
  std::vector<uint8_t> codes;  // two experts, two rows (gate, up); k 16
  for (size_t i = 0; i < 32; ++i) codes.push_back(row[i % 8]);
  const std::vector<float> scales = {1, 2, 3, 4};
  const std::vector<uint8_t> zeros = {0x67, 0x88};
  StoredTensor w13, w13_scales, w13_zeros;
  w13.view = TensorView(codes.data(), DType::kU8, {2, 2, 8});
  w13_scales.view = TensorView(scales.data(), DType::kF32, {2, 2, 1});
  w13_zeros.view = TensorView(zeros.data(), DType::kU8, {2, 1, 1});
  BoundParams params{.name = "experts", .n = 1, .k = 16};
  params.params = {{"w13_qweight", &w13}, {"w13_scales", &w13_scales}, {"w13_qzeros", &w13_zeros}};
  const auto config = FindQuantization("moe_wna16")->from_config(*ParseJson(R"({"bits":4,"group_size":128})", "test"), {"c"});
  ASSERT_TRUE(config) << config.error().ToString();
  const auto method = *(*config)->GetMoeMethod({.has = [](std::string_view) { return true; }});
  const std::vector<float> gate = testing::Decoded(*method->MakeWeight(params, 0, MoeMatrix::kGate)->weight);
  const std::vector<float> up = testing::Decoded(*method->MakeWeight(params, 0, MoeMatrix::kUp)->weight);
  const std::vector<float> other = testing::Decoded(*method->MakeWeight(params, 1, MoeMatrix::kUp)->weight);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(gate[static_cast<size_t>(i)], static_cast<float>(i - 7));
    EXPECT_EQ(up[static_cast<size_t>(i)], static_cast<float>(2 * (i - 6)));
    EXPECT_EQ(other[static_cast<size_t>(i)], static_cast<float>(4 * (i - 8)));
  }
  EXPECT_EQ(method->MakeWeight(params, 2, MoeMatrix::kUp).error().code, Code::kCorrupt);
}

TEST(ExpertsInt8, QuantizesRowsOfExpertsAlone) {
  const auto config = *FindQuantization("experts_int8")->from_config(Json::object(), {"c"});
  EXPECT_EQ(*config->GetQuantMethod({.kind = LayerKind::kLinear, .name = "q_proj"}), nullptr);
  const std::vector<float> w = {1, -2, 0.5f, 0, 0, 0, 100, 50.2f, -3};
  StoredTensor tensor;
  tensor.view = TensorView(w.data(), DType::kF32, {3, 3});
  BoundParams params{.name = "experts.0.up_proj", .n = 3, .k = 3};
  params.params = {{"weight", &tensor}};
  const auto method = *config->GetQuantMethod({.kind = LayerKind::kExpert, .name = params.name});
  const std::vector<float> found = testing::Decoded(*method->MakeWeight(params)->weight);
  for (size_t i = 0; i < 9; ++i) {
    const float amax = i < 3 ? 2 : i < 6 ? 0 : 100, scale = amax / 127;
    EXPECT_EQ(found[i], scale == 0 ? 0 : scale * std::nearbyint(w[i] / scale)) << i;
  }
  StoredTensor stacked;
  stacked.view = TensorView(w.data(), DType::kF32, {1, 3, 3});
  BoundParams down{.name = "experts", .n = 3, .k = 3};
  down.params = {{"down_proj", &stacked}};
  const auto moe = *config->GetMoeMethod({.has = [](std::string_view) { return true; }});
  EXPECT_EQ(testing::Decoded(*moe->MakeWeight(down, 0, MoeMatrix::kDown)->weight), found);
}

}  // namespace
}  // namespace nibble
