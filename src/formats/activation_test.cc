// SPDX-License-Identifier: Apache-2.0
// Published vectors of each rule.
#include "formats/activation.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <limits>
#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/math.h"
#include "support/paths.h"

namespace nibble {
namespace {

const std::vector<float> kX = {0.1f, -2, 7.5f, 0.003f, 3.3f, -1.1f, 0, 5.9f};

struct Row {
  std::vector<float> values;
  std::vector<int> codes;
  std::vector<float> scales, zeros;
};
Row Quantize(const ActivationSpec& spec, const std::vector<float>& x) {
  const auto k = static_cast<int64_t>(x.size());
  Row row{std::vector<float>(x.size()), {}, std::vector<float>(static_cast<size_t>(ActivationScales(spec, k))), {}};
  row.zeros.resize(row.scales.size());
  std::vector<int8_t> codes(x.size());
  QuantizeActivationRow(spec, x.data(), k, row.values.data(), codes.data(), row.scales.data(), row.zeros.data());
  for (const int8_t code : codes) row.codes.push_back(spec.code == DType::kI8 ? code : static_cast<uint8_t>(code));
  return row;
}

TEST(Activation, DynamicIntegersAsEnginesMakeThem) {
  ActivationSpec spec{.grain = ActivationSpec::kToken, .code = DType::kI8};
  Row row = Quantize(spec, kX);
  EXPECT_EQ(row.codes, (std::vector<int>{2, -34, 127, 0, 56, -19, 0, 100}));
  EXPECT_FLOAT_EQ(row.scales[0], 0.0590551198f);
  EXPECT_FLOAT_EQ(row.values[1], -34 * row.scales[0]);
  spec.symmetric = false;
  row = Quantize(spec, kX);
  EXPECT_EQ(row.codes, (std::vector<int>{-71, -128, 127, -74, 15, -104, -74, 84}));
  EXPECT_FLOAT_EQ(row.scales[0], 0.0372549035f);
  EXPECT_EQ(row.zeros[0], -74);
  EXPECT_FLOAT_EQ(row.values[0], 3 * row.scales[0]);
}

TEST(Activation, OutliersStayOutOfTheCodes) {
  ActivationSpec spec{.grain = ActivationSpec::kToken, .code = DType::kI8, .outlier_threshold = 5.9f};
  Row row = Quantize(spec, kX);  // 5.9 is 5.8984375 in f16: below
  EXPECT_EQ(row.codes, (std::vector<int>{2, -43, 0, 0, 71, -24, 0, 127}));
  EXPECT_EQ(row.values[2], 7.5f);
  EXPECT_FLOAT_EQ(row.scales[0], 5.8984375f * 127 * 6.200124e-05f);
  spec.outlier_threshold = std::numeric_limits<float>::infinity();
  row = Quantize(spec, kX);
  EXPECT_EQ(row.codes, (std::vector<int>{2, -34, 127, 0, 56, -19, 0, 100}));
  EXPECT_EQ(Quantize(spec, {0, 0}).values, (std::vector<float>{0, 0}));
}

TEST(Activation, StaticIntegers) {
  const ActivationSpec spec{.grain = ActivationSpec::kTensor, .code = DType::kI8, .dynamic = false, .scale = 0.06f};
  EXPECT_EQ(Quantize(spec, kX).codes, (std::vector<int>{2, -33, 125, 0, 55, -18, 0, 98}));
  ActivationSpec asymmetric = spec;
  asymmetric.symmetric = false;
  asymmetric.zero = 10;
  EXPECT_EQ(Quantize(asymmetric, kX).codes, (std::vector<int>{12, -23, 127, 10, 65, -8, 10, 108}));
}

TEST(Activation, LibraryRuleReachesTheLowestCode) {
  ActivationSpec spec{.grain = ActivationSpec::kToken, .code = DType::kI8, .rule = ActivationSpec::kCompressedTensors};
  Row row = Quantize(spec, {-7.5f, 7.5f, 0, 1});
  EXPECT_FLOAT_EQ(row.scales[0], 7.5f / 127.5f);
  EXPECT_EQ(row.codes, (std::vector<int>{-128, 127, 0, 17}));
  spec.bits = 4;
  row = Quantize(spec, {-7.5f, 7.5f, 0, 2.6f});
  EXPECT_EQ(row.codes, (std::vector<int>{-8, 7, 0, 3}));
  spec.symmetric = false;
  row = Quantize(spec, {3, 15, 6, 9});  // the range is widened to hold 0
  EXPECT_EQ(row.zeros[0], -8);
  EXPECT_EQ(row.codes, (std::vector<int>{-5, 7, -2, 1}));
}

TEST(Activation, Fp8PerTokenAndGroup) {
  ActivationSpec spec{.grain = ActivationSpec::kToken, .code = DType::kE4M3};
  Row row = Quantize(spec, {0.1f, -2, 7.5f, 0.003f});
  EXPECT_EQ(std::bit_cast<uint32_t>(row.scales[0]), 0x3C892492u);
  EXPECT_EQ(row.codes, (std::vector<int>{0x4C, 0xEF, 0x7E, 0x23}));
  spec.upper_bound = 4;
  EXPECT_EQ(Quantize(spec, {0.1f, -2, 7.5f, 0.003f}).codes[2], 0x7E);
  spec = {.grain = ActivationSpec::kGroup, .code = DType::kE4M3, .group = 2, .scale_code = ActivationSpec::kPow2Up};
  row = Quantize(spec, {1, 448, 1, 449, 5});
  EXPECT_EQ(row.scales, (std::vector<float>{1, 2, 0.015625f}));
}

TEST(Activation, ZeroRowsHaveZeroCodes) {
  for (const bool library : {false, true}) {
    for (const bool symmetric : {false, true}) {
      const ActivationSpec spec{.grain = ActivationSpec::kToken,
                                .code = DType::kI8,
                                .symmetric = symmetric,
                                .rule = library ? ActivationSpec::kCompressedTensors : ActivationSpec::kEngine};
      for (const float value : Quantize(spec, {0, 0, 0}).values) EXPECT_EQ(value, 0);
    }
    const ActivationSpec spec{.grain = ActivationSpec::kToken,
                              .code = DType::kE4M3,
                              .rule = library ? ActivationSpec::kCompressedTensors : ActivationSpec::kEngine};
    EXPECT_EQ(Quantize(spec, {0, 0}).codes, (std::vector<int>{0, 0}));
  }
}

TEST(Activation, TensorScaleComesFromAllRows) {
  const ActivationSpec spec{.grain = ActivationSpec::kTensor, .code = DType::kE4M3};
  const ActivationSpec fixed = FixTensorScale(spec, kX.data(), 8);
  EXPECT_FALSE(fixed.dynamic);
  EXPECT_EQ(fixed.scale, 7.5f / 448);
  EXPECT_EQ(FixTensorScale(fixed, kX.data(), 1), fixed);
}

// ---- rows that the tools themselves quantized ----

using Spec = ActivationSpec;

std::map<std::string, Spec> ToolSpecs() {
  constexpr float kGlobal = 448.0f * 6 / 3, kScale = 0.0173f;
  const auto group = [](DType code, int size, Spec::Rule rule, Spec::ScaleCode scale, float global = 0) {
    return Spec{.grain = Spec::kGroup, .code = code, .group = size, .rule = rule, .scale_code = scale, .global = global};
  };
  const auto integers = [](Spec::Rule rule, Spec::Grain grain, int bits, bool symmetric, int size = 0) {
    return Spec{.grain = grain, .code = DType::kI8, .bits = bits, .group = size, .symmetric = symmetric, .rule = rule};
  };
  const Spec::Rule ct = Spec::kCompressedTensors, round = Spec::kAutoRound, opt = Spec::kModelOpt, quark = Spec::kQuark;
  std::map<std::string, Spec> specs = {
      {"compressed-tensors nvfp4", group(DType::kE2M1, 16, ct, Spec::kE4M3, kGlobal)},
      {"compressed-tensors mxfp4", group(DType::kE2M1, 32, ct, Spec::kPow2Even)},
      {"compressed-tensors mxfp8", group(DType::kE4M3, 32, ct, Spec::kPow2Even)},
      {"compressed-tensors fp8 token", {.grain = Spec::kToken, .code = DType::kE4M3, .rule = ct}},
      {"compressed-tensors int8 token", integers(ct, Spec::kToken, 8, true)},
      {"compressed-tensors int8 token asymmetric", integers(ct, Spec::kToken, 8, false)},
      {"compressed-tensors int4 token", integers(ct, Spec::kToken, 4, true)},
      {"compressed-tensors int4 group", integers(ct, Spec::kGroup, 4, true, 32)},
      {"auto-round nvfp4", group(DType::kE2M1, 16, round, Spec::kE4M3, kGlobal)},
      {"auto-round mxfp4", group(DType::kE2M1, 32, round, Spec::kPow2Floor)},
      {"auto-round mxfp8", group(DType::kE4M3, 32, round, Spec::kPow2Floor)},
      {"auto-round mxfp6 e2m3", group(DType::kE2M3, 32, round, Spec::kPow2Floor)},
      {"auto-round mxint4", group(DType::kI8, 32, round, Spec::kPow2Floor)},
      {"modelopt fp8 static", {.grain = Spec::kTensor, .code = DType::kE4M3, .dynamic = false, .rule = opt, .scale = kScale}},
      {"modelopt fp8 token", {.grain = Spec::kToken, .code = DType::kE4M3, .rule = opt}},
      {"modelopt int8 static", {.grain = Spec::kTensor, .code = DType::kI8, .dynamic = false, .rule = opt, .scale = kScale}},
      {"quark fp8 tensor", {.grain = Spec::kTensor, .code = DType::kE4M3, .rule = quark}},
      {"quark int8 tensor", integers(quark, Spec::kTensor, 8, true)},
      {"quark int8 tensor asymmetric", integers(quark, Spec::kTensor, 8, false)},
      {"quark int4 group", integers(quark, Spec::kGroup, 4, true, 32)},
      {"quark amdfp4", group(DType::kE2M1, 16, quark, Spec::kE5M3)},
      {"auto-round mxfp4 rceil", group(DType::kE2M1, 32, round, Spec::kPow2Up)},
      {"auto-round mxfp8 rceil", group(DType::kE4M3, 32, round, Spec::kPow2Up)}};
  specs["auto-round mxint4"].bits = 4;
  const std::pair<const char*, DType> elements[] = {{"fp4", DType::kE2M1}, {"fp6_e2m3", DType::kE2M3}, {"fp6_e3m2", DType::kE3M2}};
  const std::pair<const char*, Spec::ScaleCode> modes[] = {
      {"even", Spec::kPow2Even}, {"floor", Spec::kPow2Floor}, {"ceil", Spec::kPow2Ceil}};
  for (const auto& [element, code] : elements)
    for (const auto& [mode, scale] : modes) specs[std::string("quark ") + element + " " + mode] = group(code, 32, quark, scale);
  return specs;
}

std::vector<float> HexFloats(const std::string& line) {
  std::vector<float> values;
  for (size_t at = 0; at + 8 <= line.size(); at += 9)
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(std::stoul(line.substr(at, 8), nullptr, 16))));
  return values;
}

TEST(Activation, IsWhatTheToolsMake) {
  std::ifstream file(testing::Repo("src/formats/golden/activation.txt"));
  ASSERT_TRUE(file);
  const std::map<std::string, Spec> specs = ToolSpecs();
  std::string name, input, output;
  int rows = 0;
  while (std::getline(file, name) && std::getline(file, input) && std::getline(file, output)) {
    SCOPED_TRACE(name);
    const std::string zeros = " zeros";
    const auto spec = specs.find(name.ends_with(zeros) ? name.substr(0, name.size() - zeros.size()) : name);
    ASSERT_NE(spec, specs.end());
    EXPECT_TRUE(IsRunnable(spec->second));
    const std::vector<float> x = HexFloats(input), wanted = HexFloats(output);
    ASSERT_EQ(x.size(), wanted.size());
    const Row row = Quantize(spec->second, x);
    for (size_t i = 0; i < x.size(); ++i) {
      // The same code; a tool that divides by max / amax where we multiply by amax / max is one rounding away.
      EXPECT_LE(std::fabs(row.values[i] - wanted[i]), std::fabs(wanted[i]) * 0x1p-22f)
          << i << ": " << x[i] << " gives " << row.values[i] << ", wanted " << wanted[i];
    }
    ++rows;
  }
  EXPECT_EQ(rows, 38);
}

}  // namespace
}  // namespace nibble
