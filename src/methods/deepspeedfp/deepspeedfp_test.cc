// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/deepspeedfp/quantize.h"
#include "methods/registry.h"

namespace nibble {
namespace {

constexpr float kExcerpt[] = {0.5f, -1.25f, 0.03f, 2.0f, -0.77f, 1.9f, 3.5f, -0.001f};

struct Published {
  int bits;
  uint16_t codes[8];
  float values[8];
};
class DeepSpeedFloats : public ::testing::TestWithParam<Published> {};
TEST_P(DeepSpeedFloats, EncodeAndDecodeAsPublished) {
  const DeepSpeedFloat& format = *FindDeepSpeedFloat(GetParam().bits);
  for (int i = 0; i < 8; ++i) {
    SCOPED_TRACE(i);
    const uint16_t code = EncodeDeepSpeedFloat(format, kExcerpt[i] * (format.range / 3.5f));
    EXPECT_EQ(code, GetParam().codes[i]);
    EXPECT_NEAR(DecodeDeepSpeedFloat(format, code) * (3.5f / format.range), GetParam().values[i], 1e-6);
  }
}
INSTANTIATE_TEST_SUITE_P(
    All, DeepSpeedFloats,
    ::testing::Values(
        Published{8,
                  {0x69, 0xf3, 0x48, 0x79, 0xed, 0x78, 0x7f, 0xa1},
                  {0.525f, -1.283333f, 0.02916667f, 2.1f, -0.7583333f, 1.866667f, 3.5f, -0.001025391f}},
        Published{6, {0x14, 0x39, 0x04, 0x1c, 0x36, 0x1c, 0x1f, 0x24}, {0.5f, -1.25f, 0.03125f, 2, -0.75f, 2, 3.5f, -0.03125f}},
        Published{12,
                  {0x452, 0xc67, 0x411, 0x472, 0xc5c, 0x471, 0x480, 0xbc3},
                  {0.4941176f, -1.262745f, 0.02916667f, 1.976471f, -0.7686275f, 1.866667f, 3.513725f, -0.001018689f}}));

TEST(DeepSpeedFloats, ZeroWrapsAsInTheKernel) { EXPECT_EQ(EncodeDeepSpeedFloat(*FindDeepSpeedFloat(8), 0), 0x40); }

TEST(DeepSpeedWeight, GroupsMayStraddleRows) {
  std::vector<float> w;
  for (int i = 0; i < 48; ++i) w.push_back(static_cast<float>((i * 29) % 48 - 23.5) / 10);
  StoredTensor tensor;
  tensor.view = TensorView(w.data(), DType::kF32, {4, 12});
  BoundParams params{.name = "x", .n = 4, .k = 12};
  params.params = {{"weight", &tensor}};
  for (const int bits : {4, 6, 8, 12}) {
    SCOPED_TRACE(bits);
    const auto config = FindQuantization("deepspeedfp")
                            ->from_config(*ParseJson(fmt::format(R"({{"bits":{},"group_size":8}})", bits), "test"), {"c"});
    const auto part = (*(*config)->GetQuantMethod({.name = "x"}))->MakeWeight(params);
    ASSERT_TRUE(part) << part.error().ToString();
    std::vector<float> found(48);
    DecodeRows(*part->weight, {0, 4}, {0, 12}, found.data());
    // Half a step of the mantissa, or the smallest value there is (2^(1 - bias) of the scale).
    const float step = bits == 4 ? 0.26f : bits == 6 ? 0.13f : 0.065f, least = bits == 4 ? 0.4f : bits == 6 ? 0.03f : 1e-3f;
    for (size_t i = 0; i < 48; ++i) EXPECT_NEAR(found[i], w[i], std::max(std::fabs(w[i]) * step, least));
    const auto cut = Slice(*part->weight, {1, 3}, {4, 12});
    ASSERT_TRUE(cut);
    std::vector<float> part_of(16);
    DecodeRows(*cut, {0, 2}, {0, 8}, part_of.data());
    for (size_t i = 0; i < 16; ++i) EXPECT_EQ(part_of[i], found[(1 + i / 8) * 12 + 4 + i % 8]);
  }
}

TEST(DeepSpeedConfig, RefusesWhatItCannotMean) {
  const auto code = [](const std::string& text) {
    return FindQuantization("deepspeedfp")->from_config(*ParseJson(text, "test"), {"c"}).error().code;
  };
  EXPECT_EQ(code(R"({"bits":5})"), Code::kCorrupt);
  EXPECT_EQ(code(R"({"bits":8,"group_size":0})"), Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
