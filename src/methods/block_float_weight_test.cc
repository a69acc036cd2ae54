// SPDX-License-Identifier: Apache-2.0
// The published blocks of every small float format, both spellings of the second level, slices, and what is refused.
#include "methods/block_float_weight.h"

#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"
#include "io/tensor_index.h"
#include "kernels/linear.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct BlockFloatModule {
  std::vector<StoredTensor> tensors;
  BoundParams params;
  // Tensors are added before the first use of `params`.
  void Add(std::string_view suffix, const void* data, DType dtype, Shape shape) {
    tensors.push_back({.view = TensorView(data, dtype, shape)});
    params.params.emplace_back(suffix, nullptr);
    for (size_t i = 0; i < tensors.size(); ++i) params.params[i].second = &tensors[i];
  }
};

const uint8_t kNvCodes[16] = {0xCF, 0x74, 0x2D, 0xE7, 0x61, 0x9E, 0xF6, 0x5A, 0xEF, 0x2A, 0x76, 0xCE, 0x51, 0xF7, 0x9D, 0x64};
const uint8_t kNvScales[2] = {0x7E, 0x66};

TEST(BlockFloat, Nvfp4IsThePublishedBlock) {
  const float multiplier = 0.000697544659f, divisor = 1433.59998f;
  for (const bool divides : {false, true}) {
    BlockFloatModule module;
    module.Add("weight", kNvCodes, DType::kU8, {1, 16});
    module.Add("weight_scale", kNvScales, divides ? DType::kE4M3 : DType::kU8, {1, 2});
    module.Add("global", divides ? &divisor : &multiplier, DType::kF32, divides ? Shape{1} : Shape{});
    const auto weight = MakeBlockFloatWeight(module.params, {.global = "global", .global_divides = divides});
    ASSERT_TRUE(weight) << weight.error().ToString();
    EXPECT_EQ(weight->n, 1);
    EXPECT_EQ(weight->k, 32);
    EXPECT_EQ(Describe(*weight), "e2m1 g16 two-level");
    EXPECT_NEAR(BitsPerWeight(*weight), 4.5 + 1, 1e-9);  // the f32 beside 32 weights
    const std::vector<float> values = testing::Decoded(*weight);
    const float scales[2] = {divides ? 448.0f / divisor : 448.0f * multiplier, divides ? 56.0f / divisor : 56.0f * multiplier};
    const float first[8] = {-6, -2, 2, 6, -3, 1, 6, -4}, second[8] = {-6, -4, -1, 1, 4, 6, -4, -2};
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(values[i], scales[0] * first[i]);
      EXPECT_EQ(values[16 + i], scales[1] * second[i]);
    }
  }
}

TEST(BlockFloat, MxIsThePublishedBlock) {
  const uint8_t four[16] = {0xBF, 0xE4, 0x4A, 0xAE, 0xE5, 0x59, 0x8E, 0xE6, 0x60, 0x1D, 0xD6, 0x62, 0x2C, 0xC6, 0x73, 0x4C};
  const uint8_t scale4 = 0x7F, scale_e3m2 = 0x7D;
  BlockFloatModule mxfp4;
  mxfp4.Add("weight", four, DType::kU8, {1, 16});
  mxfp4.Add("weight_scale", &scale4, DType::kU8, {1, 1});
  std::vector<float> values = testing::Decoded(*MakeBlockFloatWeight(mxfp4.params, {.group = 32, .e8m0 = true}));
  EXPECT_EQ(std::vector<float>(values.begin(), values.begin() + 8), (std::vector<float>{-6, -1.5, 2, -4, -1, 2, -4, -1}));
  const uint8_t six[24] = {0xBD, 0x8D, 0xF5, 0x75, 0xC6, 0xCF};
  BlockFloatModule mxfp6;
  mxfp6.Add("weight", six, DType::kU8, {1, 24});
  mxfp6.Add("weight_scale", &scale_e3m2, DType::kE8M0, {1, 1});
  values = testing::Decoded(*MakeBlockFloatWeight(mxfp6.params, {.element = DType::kE3M2, .e8m0 = true}));
  const uint8_t codes[8] = {0x3D, 0x36, 0x18, 0x3D, 0x35, 0x19, 0x3C, 0x33};
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(values[i], DecodeSmallFloat(DType::kE3M2, codes[i]) / 4);
}

// Every element type through the fast layout and through a slice, against the definition.
TEST(BlockFloat, RunsAndSlices) {
  const int64_t n = 70, k = 160;
  std::vector<uint8_t> bytes(static_cast<size_t>(n * k)), scales(static_cast<size_t>(n * k / 16));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + i / 61) & 0x7b;  // no NaN
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<uint8_t>(0x30 + i % 70);
  const float global = 0.37f;
  ThreadTeam team(1);
  for (const DType element : {DType::kE2M1, DType::kE2M3, DType::kE3M2, DType::kE4M3, DType::kE5M2}) {
    SCOPED_TRACE(DTypeName(element));
    const bool mx = element != DType::kE2M1;
    const int64_t group = mx ? 32 : 16;
    BlockFloatModule module;
    module.Add("weight", bytes.data(), SmallFloatBits(element) == 8 ? element : DType::kU8, {n, k * SmallFloatBits(element) / 8});
    module.Add("weight_scale", scales.data(), mx ? DType::kE8M0 : DType::kE4M3, {n, k / group});
    module.Add("global", &global, DType::kF32, {1});
    const auto weight =
        MakeBlockFloatWeight(module.params, {.element = element, .global = mx ? "" : "global", .global_divides = true, .e8m0 = mx});
    ASSERT_TRUE(weight) << weight.error().ToString();
    EXPECT_TRUE(VerifyValues(*weight));
    const std::vector<float> whole = testing::Decoded(*weight);
    const auto slice = Slice(*weight, {3, 69}, {40, 150});
    ASSERT_TRUE(slice) << slice.error().ToString();
    const std::vector<float> cut = testing::Decoded(*slice);
    for (int64_t i = 0; i < slice->n; ++i) {
      for (int64_t j = 0; j < slice->k; ++j)
        ASSERT_EQ(cut[static_cast<size_t>(i * slice->k + j)], whole[static_cast<size_t>((i + 3) * k + j + 40)]);
    }
    std::vector<float> x(static_cast<size_t>(k)), y[2];
    for (int64_t j = 0; j < k; ++j) x[static_cast<size_t>(j)] = static_cast<float>(j % 13) - 5.7f;
    for (const bool reference : {false, true}) {
      LinearProblem problem{.k = k};
      problem.parts.push_back(FinishPart(*weight));
      const auto packed = PrepareLinear(problem, {.isa = Cpu().isa, .reference_only = reference}, team);
      ASSERT_TRUE(packed) << packed.error().ToString();
      EXPECT_EQ(std::string(packed->segments[0].layout->name) == "strip64", !reference);
      y[reference].resize(static_cast<size_t>(n));
      const LinearArgs args{.x = x.data(), .x_stride = k, .y = y[reference].data(), .y_stride = n, .m = 1};
      std::vector<std::byte> scratch(static_cast<size_t>(kLinearScratchBytes));
      RunLinear(*packed, {&args, 1}, 0, 1, scratch.data());
    }
    EXPECT_EQ(y[0], y[1]);
  }
}

TEST(BlockFloat, RefusesWhatContradicts) {
  const float zero = 0;
  const auto error = [&](DType scale_type, Shape scale_shape, const float* global, const BlockFloatLayout& layout) {
    BlockFloatModule module;
    module.Add("weight", kNvCodes, DType::kU8, {1, 16});
    module.Add("weight_scale", kNvScales, scale_type, scale_shape);
    if (global) module.Add("global", global, DType::kF32, {1});
    const auto weight = MakeBlockFloatWeight(module.params, layout);
    return weight ? std::string() : weight.error().ToString();
  };
  EXPECT_NE(error(DType::kE4M3, {1, 2}, nullptr, {.e8m0 = true}).find("contradict"), std::string::npos);
  EXPECT_NE(error(DType::kE4M3, {1, 2}, nullptr, {.group = 8}).find("wanted [1,4]"), std::string::npos);
  EXPECT_NE(error(DType::kE4M3, {2, 1}, nullptr, {}).find("a divisor of k"), std::string::npos);
  EXPECT_NE(error(DType::kE4M3, {1, 2}, nullptr, {.global = "global"}).find("missing"), std::string::npos);
  EXPECT_NE(error(DType::kE4M3, {1, 2}, &zero, {.global = "global"}).find("other than 0"), std::string::npos);
}

}  // namespace
}  // namespace nibble
