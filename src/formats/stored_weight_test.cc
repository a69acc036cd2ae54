// SPDX-License-Identifier: Apache-2.0
#include "formats/stored_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"

namespace nibble {
namespace {

TEST(StoredWeight, DenseDecodesAnyStridesAndTypes) {
  const std::vector<uint16_t> halves = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};  // 1 2 3 4 5 6
  const TensorView w(halves.data(), DType::kF16, {2, 3});
  std::vector<float> out(6);
  DecodeRows(MakeDense(w, {}, nullptr), {0, 2}, {0, 3}, out.data());
  EXPECT_EQ(out, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  DecodeRows(MakeDense(w.Transpose(0, 1), {}, nullptr), {0, 3}, {0, 2}, out.data());
  EXPECT_EQ(out, (std::vector<float>{1, 4, 2, 5, 3, 6}));
  const StoredWeight cut = *Slice(MakeDense(w, {}, nullptr), {1, 2}, {1, 3});
  DecodeRows(cut, {0, 1}, {0, 2}, out.data());
  EXPECT_EQ(out[0], 5);
  EXPECT_EQ(out[1], 6);
  EXPECT_EQ(Describe(cut), "f16");
  EXPECT_EQ(BitsPerWeight(cut), 16);
}

TEST(Formats, TheFourGeneralOnesAlwaysExist) {
  for (const char* name : {"dense", "int_group", "fp8", "table"}) ASSERT_NE(FindFormat(name), nullptr) << name;
  EXPECT_EQ(FindFormat("no_such"), nullptr);
  EXPECT_EQ(FindGgmlFormat(-1), nullptr);
}

// The published 4-bit GPTQ example: k 16, n 8, groups of 8, asymmetric.
struct GptqExample {
  std::vector<uint32_t> qweight = {0x52FC9630, 0x1D951D95, 0xD83E94FA, 0x93D71B5F, 0x5E7092B4, 0x19191919, 0xD4B2907E, 0x9F5B17D3,
                                   0xDA741EB8, 0x1D951D95, 0x50B61C72, 0x93D71B5F, 0xD6F81A3C, 0x19191919, 0x5C3A18F6, 0x9F5B17D3};
  std::vector<uint32_t> qzeros = {0xEDCBA987, 0x0EDCBA98};  // v1
  std::vector<uint16_t> scales = {0x2400, 0x2800, 0x2A00, 0x2C00, 0x2D00, 0x2E00, 0x2F00, 0x3000,
                                  0x2800, 0x2C00, 0x2E00, 0x3000, 0x3100, 0x3200, 0x3300, 0x3400};
  std::vector<int32_t> g_idx = {1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0};

  StoredWeight Weight(bool act_order) const {
    StoredWeight weight;
    weight.format = FindFormat("int_group");
    weight.n = 8;
    weight.k = 16;
    weight.origin = {"model.safetensors", "layer"};
    Coded coded;
    coded.codes = DenseStream(TensorView(qweight.data(), DType::kI32, {2, 8}).Transpose(0, 1), 4, StreamAxis::kAlongK);
    coded.scale.data = TensorView(scales.data(), DType::kF16, {2, 8}).Transpose(0, 1);
    coded.scale.block_k = 8;
    coded.zero = Plane{.block_k = 8,
                       .packed = DenseStream(TensorView(qzeros.data(), DType::kI32, {2, 1}), 4, StreamAxis::kAlongN),
                       .packed_bias = 1};
    if (act_order) coded.group_of_k = TensorView(g_idx.data(), DType::kI32, {16});
    weight.body = coded;
    return weight;
  }
};
std::vector<float> Column(const StoredWeight& weight, int64_t k) {
  std::vector<float> out(static_cast<size_t>(weight.n));
  DecodeRows(weight, {0, weight.n}, {k, k + 1}, out.data());
  return out;
}

TEST(StoredWeight, DecodesThePublishedGptqExample) {
  const GptqExample example;
  const StoredWeight plain = example.Weight(false), ordered = example.Weight(true);
  EXPECT_EQ(Column(plain, 0), (std::vector<float>{-0.125f, -0.125f, 0, 0.25f, -0.625f, -0.375f, 0, -1.5f}));
  EXPECT_EQ(Column(plain, 8), (std::vector<float>{-0.03125f, -0.3125f, -0.84375f, 0.375f, -0.15625f, -0.9375f, -1.96875f, 0.5f}));
  EXPECT_EQ(Column(plain, 15), (std::vector<float>{0.125f, -0.5625f, -0.5625f, -0.375f, 0, -2.4375f, -2.1875f, 2}));
  EXPECT_EQ(Column(ordered, 0), (std::vector<float>{-0.28125f, -0.3125f, -0.09375f, 0.375f, -1.40625f, -0.9375f, -0.21875f, 0.5f}));
  EXPECT_EQ(Column(ordered, 1), Column(plain, 1));  // group 0 in both
}

TEST(StoredWeight, WordsAndSizesFollowTheGrain) {
  const GptqExample example;
  EXPECT_EQ(Describe(example.Weight(false)), "int4 g8 asym");
  EXPECT_EQ(Describe(example.Weight(true)), "int4 g8 asym act-order");
  // 128 codes of 4 bits, 16 f16 scales, 16 zero points of 4 bits.
  EXPECT_EQ(StoredBytes(example.Weight(false)), 64 + 32 + 8);
  EXPECT_EQ(BitsPerWeight(example.Weight(false)), (64 + 32 + 8) * 8 / 128.0);
  EXPECT_EQ(StoredBytes(example.Weight(true)), 64 + 32 + 8 + 64);
  const std::vector<uint8_t> bytes(64 * 64, 0x38);
  const float scale = 2;
  StoredWeight fp8;
  fp8.format = FindFormat("fp8");
  fp8.n = fp8.k = 64;
  Coded coded;
  coded.codes = ByteCodes(TensorView(bytes.data(), DType::kE4M3, {64, 64}), 8, 0);
  coded.rule = ValueRule::kFloat;
  coded.float_type = DType::kE4M3;
  coded.scale = {.data = TensorView(&scale, DType::kF32, {1, 1}), .block_n = 0};
  fp8.body = coded;
  EXPECT_EQ(Describe(fp8), "e4m3 per-tensor");
  EXPECT_EQ(Column(fp8, 3)[5], 2);
  EXPECT_TRUE(VerifyValues(fp8));
}

TEST(StoredWeight, VerifyFindsBadNumbers) {
  GptqExample example;
  EXPECT_TRUE(VerifyValues(example.Weight(true)));
  example.scales[11] = 0x7c00;
  EXPECT_EQ(VerifyValues(example.Weight(false)).error().ToString(),
            "corrupt: model.safetensors: layer: scale of row 3, column 8 is inf");
  example.scales[11] = 0x3000;
  example.g_idx[4] = 2;
  EXPECT_EQ(VerifyValues(example.Weight(true)).error().ToString(),
            "corrupt: model.safetensors: layer: column 4 names group 2, but there are 2 groups");
  float numbers[4] = {1, 2, std::numeric_limits<float>::quiet_NaN(), 4};
  const StoredWeight dense = MakeDense(TensorView(numbers, DType::kF32, {2, 2}), {"", "d"}, nullptr);
  EXPECT_EQ(VerifyValues(dense).error().ToString(), "corrupt: d: the weight of row 1, column 0 is nan");
  numbers[2] = 0;
  EXPECT_TRUE(VerifyValues(dense));
  StoredWeight mapped = dense;
  const int32_t rows[2] = {0, 2};
  mapped.row_map = TensorView(rows, DType::kI32, {2});
  EXPECT_EQ(VerifyValues(mapped).error().code, Code::kCorrupt);
}

TEST(StoredWeight, TrueInverseScalesDivideOnce) {
  const uint8_t code = 0x3d;  // 1.625
  const float stored = 3;
  StoredWeight weight;
  weight.format = FindFormat("fp8");
  weight.n = weight.k = 1;
  Coded coded;
  coded.codes = ByteCodes(TensorView(&code, DType::kE4M3, {1, 1}), 8, 0);
  coded.rule = ValueRule::kFloat;
  coded.float_type = DType::kE4M3;
  coded.scale = {.data = TensorView(&stored, DType::kF32, {1, 1}), .block_n = 0, .reciprocal = true};
  weight.body = coded;
  EXPECT_EQ(Column(weight, 0)[0], 1.625f / 3.0f);
}

}  // namespace
}  // namespace nibble
