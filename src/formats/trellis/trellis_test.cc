// SPDX-License-Identifier: Apache-2.0
// Published values of the codes, and whole matrices of an independent decoder, bit for bit.
#include "formats/trellis/trellis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <vector>

#include "formats/hadamard_tables.h"
#include "formats/transform.h"
#include "support/paths.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

std::vector<std::byte> ReadTrellisBytes(const std::string& name) {
  std::ifstream in(testing::Repo("tests/data/trellis/" + name), std::ios::binary);
  std::vector<char> chars((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<std::byte> bytes(chars.size());
  std::transform(chars.begin(), chars.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}
std::vector<float> ReadTrellisFloats(const std::string& name, DType dtype) {
  const auto bytes = ReadTrellisBytes(name);
  std::vector<float> values(bytes.size() / static_cast<size_t>(DTypeBytes(dtype)));
  ConvertToF32(dtype, bytes.data(), static_cast<int64_t>(values.size()), values.data());
  return values;
}

TEST(Trellis, CodesHaveThePublishedValues) {
  const uint32_t windows[] = {0x0000, 0x0001, 0x00FF, 0x1000, 0xBEEF, 0xFFFF};
  const float mad[] = {-1.2516869f, -0.83896852f, 0.46007952f, -0.040595252f, 0.65628988f, 0.41271839f};
  const float mad2[] = {-0.10825401f, -0.32476202f, 2.3477588f, 0.29093263f, 0.86603206f, 0.19621038f};
  const float inst[] = {0.76806641f, -0.91943359f, 1.2041016f, 0.3359375f, 3.1464844f, -0.15820312f};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_FLOAT_EQ(TrellisValue(TrellisCode::k1Mad, windows[i]), mad[i]);
    EXPECT_FLOAT_EQ(TrellisValue(TrellisCode::k2Mad, windows[i]), mad2[i]);
    EXPECT_EQ(TrellisValue(TrellisCode::k3Inst, windows[i]), inst[i]);
  }
  for (const char* name : {"1mad", "mul1", "quantlut_sym"}) EXPECT_EQ(TrellisCodeName(*ParseTrellisCode(name)), name);
  EXPECT_FALSE(ParseTrellisCode("4mad"));
}

struct Matrix {
  std::vector<std::byte> tiles, table;
  StoredWeight weight;

  Matrix(const std::string& file, int64_t n, int64_t k, int bits, int vec, TrellisCode code, TrellisOrder order,
         const std::string& table_file = "")
      : tiles(ReadTrellisBytes(file)), table(table_file.empty() ? std::vector<std::byte>() : ReadTrellisBytes(table_file)) {
    EXPECT_EQ(static_cast<int64_t>(tiles.size()), n * k * bits / 8) << file;
    weight.format = FindFormat("trellis");
    weight.n = n;
    weight.k = k;
    Trellis body{.bits = bits, .vec = vec, .codebook = static_cast<uint8_t>(code), .tile_order = static_cast<uint8_t>(order)};
    body.tiles = TensorView(tiles.data(), DType::kI16, {static_cast<int64_t>(tiles.size()) / 2});
    if (!table.empty()) body.lut = TensorView(table.data(), DType::kF16, {static_cast<int64_t>(table.size()) / 2 / vec, vec});
    weight.body = body;
  }
  std::vector<float> Decode() const {
    std::vector<float> out(static_cast<size_t>(weight.n * weight.k));
    DecodeRows(weight, {0, weight.n}, {0, weight.k}, out.data());
    // Any rectangle gives the same values.
    std::vector<float> part(3 * 17);
    DecodeRows(weight, {14, 17}, {9, 26}, part.data());
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 17; ++j)
        EXPECT_EQ(part[static_cast<size_t>(i * 17 + j)], out[static_cast<size_t>((14 + i) * weight.k + 9 + j)]);
    return out;
  }
};

TEST(Trellis, DecodesQtip) {
  for (const auto& [mode, code] : {std::pair("1mad", TrellisCode::k1Mad), std::pair("3inst", TrellisCode::k3Inst)}) {
    const Matrix matrix("qtip_k3.packed.u16", 32, 64, 3, 1, code, TrellisOrder::kPlain);
    EXPECT_EQ(matrix.Decode(), ReadTrellisFloats("qtip_" + std::string(mode) + "_k3.hatW.f32", DType::kF32)) << mode;
  }
  for (const int bits : {2, 3}) {
    const std::string base = "qtip_hyb_k" + std::to_string(bits);
    const Matrix matrix(base + ".kernel_packed.u16", 32, 64, bits, 2, TrellisCode::kQuantLutSym, TrellisOrder::kKernel,
                        "hyb_tlut.f16");
    EXPECT_EQ(matrix.Decode(), ReadTrellisFloats(base + ".hatW.f32", DType::kF32)) << bits;
  }
}

TEST(Trellis, DecodesExl3) {
  struct Case {
    int bits;
    const char* name;
    TrellisCode code;
  };
  for (const Case& c : {Case{1, "3inst", TrellisCode::k3Inst}, Case{3, "mcg", TrellisCode::kMcg},
                        Case{3, "mul1", TrellisCode::kMul1}, Case{8, "mul1", TrellisCode::kMul1}}) {
    const std::string base = "exl3_k" + std::to_string(c.bits);
    const Matrix matrix(base + ".trellis.u16", 48, 32, c.bits, 1, c.code, TrellisOrder::kExl3);
    const std::vector<float> found = matrix.Decode(), wanted = ReadTrellisFloats(base + "_" + c.name + ".inner.f16", DType::kF16);
    int wrong = 0;
    for (size_t n = 0; n < 48; ++n)
      for (size_t k = 0; k < 32; ++k) wrong += found[n * 32 + k] != wanted[k * 48 + n];
    EXPECT_EQ(wrong, 0) << base << c.name;
  }
}

TEST(Hadamard, TablesAreOrthogonal) {
  for (const int64_t size : {12, 20, 28, 36, 52, 60, 108, 116, 124, 140, 156, 172}) {
    const auto transform = HadamardOf(2 * size);
    ASSERT_TRUE(transform);
    ASSERT_EQ(transform->data2.shape, Shape({size, size}));
    const auto* h = transform->data2.as<int8_t>();
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        int dot = 0;
        for (int64_t k = 0; k < size; ++k) dot += h[i * size + k] * h[j * size + k];
        ASSERT_EQ(dot, i == j ? size : 0);
      }
  }
  EXPECT_FALSE(HadamardOf(64)->data2);
  EXPECT_EQ(HadamardOf(86 * 2)->data2.dim(0), 172);
  for (const int64_t size : {0, -4, 3, 14, 100}) EXPECT_FALSE(HadamardOf(size)) << size;
}

// A whole layer of QTIP, 12 x 8 inputs: the orientation of the rotations.
TEST(Trellis, ComputesALayerOfQtip) {
  const Matrix matrix("qtip_linear_64x96.kernel_packed.u16", 64, 96, 2, 2, TrellisCode::kQuantLutSym, TrellisOrder::kKernel,
                      "hyb_tlut.f16");
  const std::vector<float> w = matrix.Decode(), x = ReadTrellisFloats("qtip_linear_64x96.x.f32", DType::kF32),
                           y = ReadTrellisFloats("qtip_linear_64x96.y.f32", DType::kF32);
  auto su = ReadTrellisFloats("qtip_linear_64x96.SU.f16", DType::kF16),
       sv = ReadTrellisFloats("qtip_linear_64x96.SV.f32", DType::kF32);
  const std::vector<Transform> in = {{.kind = Transform::kScale, .data = TensorView(su.data(), DType::kF32, {96})},
                                     *HadamardOf(96)};
  std::vector<Transform> out = {*HadamardOf(64), {.kind = Transform::kScale, .data = TensorView(sv.data(), DType::kF32, {64})}};
  out[0].inverse = true;
  ASSERT_TRUE(CheckTransforms(in, 96));
  std::vector<float> row(96), scratch(96), result(64);
  for (size_t m = 0; m < x.size() / 96; ++m) {
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(m * 96), 96, row.begin());
    ASSERT_TRUE(ApplyTransforms(in, row.data(), 96, scratch.data()));
    for (size_t n = 0; n < 64; ++n) {
      double sum = 0;
      for (size_t k = 0; k < 96; ++k) sum += static_cast<double>(w[n * 96 + k]) * row[k];
      result[n] = static_cast<float>(sum);
    }
    ASSERT_TRUE(ApplyTransforms(out, result.data(), 64, scratch.data()));
    for (size_t n = 0; n < 64; ++n) EXPECT_NEAR(result[n], y[m * 64 + n], 2e-6 * std::fabs(y[m * 64 + n]) + 2e-6) << m << " " << n;
  }
}

}  // namespace
}  // namespace nibble
