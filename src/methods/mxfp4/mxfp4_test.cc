// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "io/tensor_index.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

Result<std::unique_ptr<QuantizationConfig>> ParseMxfp4(const std::string& text) {
  return FindQuantization("mxfp4")->from_config(*ParseJson(text, "test"), {"config.json", nullptr});
}

// Two experts, I = 3, H = 64; I is no multiple of 32, so down has k = 32.
struct Experts {
  static constexpr int64_t kExperts = 2, kInter = 3, kHidden = 64, kDownK = 32;
  std::vector<uint8_t> codes, scales, down_codes, down_scales;
  std::vector<float> bias;
  std::vector<StoredTensor> tensors;
  BoundParams params{.name = "experts"};

  Experts() : codes(kExperts * 2 * kInter * kHidden / 2), scales(kExperts * 2 * kInter * 2), bias(kExperts * 2 * kInter) {
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * 29 + i / 7);
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<uint8_t>(120 + i % 11);
    for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i);
    down_codes.assign(kExperts * kHidden * kDownK / 2, 0x21);
    down_scales.assign(kExperts * kHidden, 128);
    tensors.resize(5);
    tensors[0].view = TensorView(codes.data(), DType::kU8, {kExperts, 2 * kInter, 2, 16});
    tensors[1].view = TensorView(scales.data(), DType::kU8, {kExperts, 2 * kInter, 2});
    tensors[2].view = TensorView(bias.data(), DType::kF32, {kExperts, 2 * kInter});
    tensors[3].view = TensorView(down_codes.data(), DType::kU8, {kExperts, kHidden, 1, 16});
    tensors[4].view = TensorView(down_scales.data(), DType::kU8, {kExperts, kHidden, 1});
    params.params = {{"gate_up_proj_blocks", &tensors[0]},
                     {"gate_up_proj_scales", &tensors[1]},
                     {"gate_up_proj_bias", &tensors[2]},
                     {"down_proj_blocks", &tensors[3]},
                     {"down_proj_scales", &tensors[4]}};
  }
};

TEST(Mxfp4, GateAndUpTakeTurns) {
  Experts experts;
  experts.params.n = Experts::kInter;
  experts.params.k = Experts::kHidden;
  const auto method =
      *(*ParseMxfp4(R"({"modules_to_not_convert":["lm_head"]})"))->GetMoeMethod({.name = "model.layers.0.mlp.experts"});
  ASSERT_TRUE(method);
  for (int64_t e = 0; e < Experts::kExperts; ++e) {
    for (const MoeMatrix which : {MoeMatrix::kGate, MoeMatrix::kUp}) {
      const auto part = method->MakeWeight(experts.params, e, which);
      ASSERT_TRUE(part) << part.error().ToString();
      std::vector<float> values(Experts::kInter * Experts::kHidden);
      DecodeRows(*part->weight, {0, Experts::kInter}, {0, Experts::kHidden}, values.data());
      for (int64_t i = 0; i < Experts::kInter; ++i) {
        const int64_t row = e * 2 * Experts::kInter + 2 * i + (which == MoeMatrix::kUp);
        EXPECT_EQ(LoadScalar(part->bias.dtype, part->bias.data, i * part->bias.stride[0]), experts.bias[static_cast<size_t>(row)]);
        for (int64_t k = 0; k < Experts::kHidden; ++k) {
          const uint8_t byte = experts.codes[static_cast<size_t>((row * Experts::kHidden + k) / 2)];
          const float code = DecodeSmallFloat(DType::kE2M1, k % 2 ? byte >> 4 : byte & 15);
          const float scale = DecodeSmallFloat(DType::kE8M0, experts.scales[static_cast<size_t>(row * 2 + k / 32)]);
          ASSERT_EQ(values[static_cast<size_t>(i * Experts::kHidden + k)], code * scale) << "row " << row << " column " << k;
        }
      }
    }
  }
}

TEST(Mxfp4, DownIsPlainAndShapesAreChecked) {
  Experts experts;
  experts.params.n = Experts::kHidden;
  experts.params.k = Experts::kDownK;
  const auto method = *(*ParseMxfp4("{}"))->GetMoeMethod({.name = "experts"});
  const auto part = method->MakeWeight(experts.params, 1, MoeMatrix::kDown);
  ASSERT_TRUE(part) << part.error().ToString();
  EXPECT_FALSE(part->bias);
  float values[2];
  DecodeRows(*part->weight, {5, 6}, {4, 6}, values);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], 2);
  experts.params.k = 64;
  const auto wrong = method->MakeWeight(experts.params, 1, MoeMatrix::kDown);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().ToString().find("wanted [experts,64,2,16]"), std::string::npos) << wrong.error().ToString();
}

TEST(Mxfp4, WildcardsNameWhatStaysFloat) {
  const auto config = *ParseMxfp4(R"({"modules_to_not_convert":["model.layers.*.self_attn","lm_head"]})");
  EXPECT_EQ(config->EstimateBits({.kind = LayerKind::kExpert, .name = "model.layers.3.mlp.experts"}), 4.25);
  EXPECT_EQ(config->EstimateBits({.kind = LayerKind::kLinear, .name = "model.layers.3.self_attn.q_proj"}), 0);
  const auto excluded = *ParseMxfp4(R"({"modules_to_not_convert":["model.layers.*.mlp"]})");
  EXPECT_EQ(*excluded->GetMoeMethod({.name = "model.layers.3.mlp.experts"}), nullptr);
  EXPECT_EQ(ParseMxfp4(R"({"modules_to_not_convert":3})").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
