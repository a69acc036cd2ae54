// SPDX-License-Identifier: Apache-2.0
// Integer kernels: all agree bit for bit whatever the instruction set, rows and threads, and with the product of what codes and x
// mean.
#include <gtest/gtest.h>

#include "base/check.h"
#include "kernels/random_weights.h"
#include "kernels/x_codes.h"

namespace nibble {
namespace {

struct Product {
  std::vector<float> y;
  std::string kernel;
  XForm form;
};

Product Multiply(const StoredWeight& w, const ActivationSpec& act, const std::vector<float>& x, int64_t m, Isa isa, int threads) {
  ThreadTeam team(threads);
  LinearPart part{.weight = std::make_shared<StoredWeight>(w), .act = act};
  const auto packed = PrepareLinear({.parts = {part}, .k = w.k}, {isa}, team);
  NIBBLE_CHECK(packed.has_value(), "{}", packed.error().ToString());
  Product product{.y = std::vector<float>(static_cast<size_t>(m * w.n)),
                  .kernel = packed->segments[0].by_m[0]->name,
                  .form = packed->inputs[0].form};
  if (product.form == XForm::kF32) return product;
  // Exactly as many bytes as the rows take: a read past them is seen by the sanitizers.
  std::vector<std::byte> codes(static_cast<size_t>(m * CeilDiv(w.k, kXStep) * XRecordBytes(product.form))), scratch;
  for (int64_t row = 0; row < m; ++row) WriteXCodes(product.form, act, x.data() + row * w.k, w.k, row, m, codes.data(), &scratch);
  const LinearArgs args{reinterpret_cast<const float*>(codes.data()), 0, product.y.data(), w.n, m};
  team.Run([&](int worker) {
    Buffer work(kLinearScratchBytes);
    RunLinear(*packed, {&args, 1}, worker, team.size(), work.data());
  });
  return product;
}

// What the codes of a row mean.
std::vector<float> Meaning(const ActivationSpec& act, const float* x, int64_t k) {
  std::vector<float> out(static_cast<size_t>(k));
  if (act.code == DType::kI8) {
    QuantizeActivationRow(act, x, k, out.data(), nullptr, nullptr);
    return out;
  }
  for (int64_t begin = 0; begin < k; begin += kXStep) {
    float amax = 1e-10f;
    const int64_t end = std::min(begin + kXStep, k);
    for (int64_t i = begin; i < end; ++i) amax = std::max(amax, std::fabs(x[i]));
    const float scale = amax / 32767;
    for (int64_t i = begin; i < end; ++i) out[static_cast<size_t>(i)] = std::nearbyint(x[i] / scale) * scale;
  }
  return out;
}

// A table of values that are no small integers is rounded to 2047 steps.
bool IsWide(const StoredWeight& w) {
  const auto* coded = std::get_if<Coded>(&w.body);
  return coded && coded->rule == ValueRule::kTable;
}

// Every sum of integers is exact; what rounds are the scales' product, each sum's conversion and its addition. Biases may be as
// large as the largest weight of the row.
void ExpectProduct(const StoredWeight& w, const ActivationSpec& act, const std::vector<float>& x, int64_t m,
                   const std::vector<float>& y, const std::string& what) {
  std::vector<float> row(static_cast<size_t>(w.k));
  const double bound = static_cast<double>(4 * CeilDiv(w.k, kXStep / 2) + 8) * 0x1p-24 + (IsWide(w) ? 0.5 / 2047 : 0);
  for (int64_t i = 0; i < m; ++i) {
    const std::vector<float> meant = Meaning(act, x.data() + i * w.k, w.k);
    for (int64_t n = 0; n < w.n; ++n) {
      DecodeRows(w, {n, n + 1}, {0, w.k}, row.data());
      float largest = 0;
      for (const float v : row) largest = std::max(largest, std::fabs(v));
      double exact = 0, magnitude = 0;
      for (size_t j = 0; j < row.size(); ++j) {
        exact += static_cast<double>(row[j]) * meant[j];
        magnitude += (std::fabs(static_cast<double>(row[j])) + 4.0 * largest) * std::fabs(meant[j]);
      }
      ASSERT_LE(std::abs(static_cast<double>(y[static_cast<size_t>(i * w.n + n)]) - exact), bound * magnitude + 1e-30)
          << what << " row " << i << " output " << n;
    }
  }
}

const ActivationSpec kInt8{.grain = ActivationSpec::kGroup, .code = DType::kI8, .group = 32};
const ActivationSpec kInt16{.grain = ActivationSpec::kGroup, .code = DType::kI16, .bits = 16, .group = 32};

// Returns whether an integer kernel takes this weight.
bool CheckAll(const StoredWeight& w, const ActivationSpec& act, std::mt19937* rng, const std::string& name) {
  bool integers = false;
  for (const int64_t m : {1, 2, 5, 13}) {
    const auto x = RandomX(m, w.k, rng);
    std::vector<float> first;
    for (const Isa isa : IsasHere())
      for (const int threads : {1, 2}) {
        const Product product = Multiply(w, act, x, m, isa, threads);
        if (product.form == XForm::kF32) return false;
        integers = true;
        const std::string what = name + " " + product.kernel + " m " + std::to_string(m);
        if (first.empty()) {
          first = product.y;
          ExpectProduct(w, act, x, m, first, what);
        }
        EXPECT_EQ(product.y, first) << what << " " << IsaName(isa) << " threads " << threads;
      }
  }
  return integers;
}

TEST(IntegerKernels, CodesOfEveryWidth) {
  std::mt19937 rng(3);
  for (const Case& c :
       {Case{.name = "int2 g16", .bits = 2, .group = 16, .zero = true}, Case{.name = "int3 g32", .bits = 3, .group = 32},
        Case{.name = "int4 g128 f32", .bits = 4, .scale = DType::kF32, .group = 128}, Case{.name = "int4 channel", .bits = 4},
        Case{.name = "int4 asym", .bits = 4, .group = 32, .zero = true},
        Case{.name = "int4 bias", .bits = 4, .rule = ValueRule::kIntPlusBias, .group = 64, .zero = true, .zero_dtype = DType::kF32},
        Case{.name = "int4 real zero", .bits = 4, .group = 64, .zero = true, .zero_dtype = DType::kF16},
        Case{.name = "int5", .bits = 5, .group = 64}, Case{.name = "int6 g16", .bits = 6, .group = 16, .zero = true},
        Case{.name = "int6", .bits = 6}, Case{.name = "int8", .bits = 8},
        Case{.name = "int8 asym", .bits = 8, .group = 64, .zero = true},
        Case{.name = "nf4", .bits = 4, .rule = ValueRule::kTable, .scale = DType::kF32, .group = 64},
        Case{.name = "table4", .bits = 4, .rule = ValueRule::kTable},
        Case{.name = "e2m1", .bits = 4, .rule = ValueRule::kFloat, .float_type = DType::kE2M1, .group = 16}})
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 64}, {64, 128}, {100, 300}, {129, 257}})
      for (const ActivationSpec& act : {kInt8, kInt16}) {
        Owned owned;
        EXPECT_TRUE(CheckAll(MakeCoded(c, n, k, &owned, &rng), act, &rng, c.name)) << c.name;
      }
}

// The largest sums that the narrow forms must hold: all codes and all x at their ends.
TEST(IntegerKernels, ExtremesDoNotOverflow) {
  std::mt19937 rng(9);
  for (int bits = 2; bits <= 8; ++bits)
    for (const int64_t group : {16, 32}) {
      Owned owned;
      StoredWeight w = MakeCoded({.name = "w", .bits = bits, .group = group}, 64, 128, &owned, &rng);
      auto* codes = const_cast<std::byte*>(std::get<Coded>(w.body).codes.t[0].data);
      for (int i = 0; i < 64 * 128; ++i) codes[i] = static_cast<std::byte>(i / 128 % 2 ? (1 << bits) - 1 : 0);
      for (const float sign : {-1.0f, 1.0f}) {
        const std::vector<float> x(128, sign);
        for (const ActivationSpec& act : {kInt8, kInt16})
          for (const Isa isa : IsasHere())
            ExpectProduct(w, act, x, 1, Multiply(w, act, x, 1, isa, 1).y,
                          fmt::format("{} bits by {} {}", bits, group, IsaName(isa)));
      }
    }
}

TEST(IntegerKernels, EveryGgmlFormatWithCodes) {
  std::mt19937 rng(5);
  int taken = 0;
  for (const FormatId format : Formats()) {
    if (!format->is_blocked() || !format->decode || !format->split) continue;
    const StoredWeight w = MakeBlocked(format, 70, std::max(256, 2 * format->block_elems), &rng);
    for (const ActivationSpec& act : {kInt8, kInt16}) taken += CheckAll(w, act, &rng, std::string(format->name));
  }
  EXPECT_GE(taken, 40);
}

// A shard that begins and ends inside a block: sub-scales and d of other columns than the first.
TEST(IntegerKernels, SlicesInsideBlocks) {
  std::mt19937 rng(6);
  int taken = 0;
  for (const FormatId format : Formats()) {
    if (!format->is_blocked() || !format->decode || !format->split) continue;
    const auto slice = Slice(MakeBlocked(format, 70, std::max(768, 3 * format->block_elems), &rng), {5, 70}, {96, 96 + 416});
    ASSERT_TRUE(slice) << slice.error().ToString();
    for (const ActivationSpec& act : {kInt8, kInt16}) taken += CheckAll(*slice, act, &rng, std::string(format->name) + " slice");
  }
  EXPECT_GE(taken, 40);
}

// Prepared rows lie where f32 rows would.
TEST(IntegerKernels, RecordsNeverNeedMoreRoomThanFloats) {
  std::mt19937 rng(13);
  for (int64_t k = 1; k < 300; ++k) {
    Owned owned;
    const auto w = std::make_shared<StoredWeight>(MakeCoded({.name = "w", .bits = 4}, 1, k, &owned, &rng));
    const auto packed = ChooseLinear({.parts = {{.weight = w}}, .k = k, .policy = ActivationPolicy::kInt16}, {Cpu().isa});
    ASSERT_TRUE(packed);
    if (packed->inputs[0].form == XForm::kF32) continue;
    EXPECT_LE(CeilDiv(k, kXStep) * XRecordBytes(packed->inputs[0].form), k * static_cast<int64_t>(sizeof(float))) << k;
  }
}

// What methods demand: one scale a row, static scales, zero points, groups of 128.
TEST(IntegerKernels, DemandsOfMethods) {
  std::mt19937 rng(7);
  Owned owned;
  const StoredWeight w = MakeCoded({.name = "w8", .bits = 8}, 96, 320, &owned, &rng);
  const ActivationSpec token{.grain = ActivationSpec::kToken, .code = DType::kI8, .rule = ActivationSpec::kCompressedTensors};
  ActivationSpec asymmetric = token, fixed = token, grouped = token;
  asymmetric.symmetric = false;
  fixed.grain = ActivationSpec::kTensor;
  fixed.dynamic = false;
  fixed.scale = 0.02f;
  grouped.grain = ActivationSpec::kGroup;
  grouped.group = 128;
  for (const ActivationSpec& act : {token, asymmetric, fixed, grouped}) EXPECT_TRUE(CheckAll(w, act, &rng, "w8"));
  ActivationSpec outliers = token;
  outliers.outlier_threshold = 6;
  EXPECT_FALSE(CheckAll(w, outliers, &rng, "outliers"));
}

TEST(IntegerKernels, WhatTheyRefuseRunsInFloats) {
  std::mt19937 rng(11);
  Owned owned;
  for (const Case& c : {Case{.name = "act-order", .bits = 4, .group = 32, .zero = true, .act_order = true},
                        Case{.name = "g50", .bits = 4, .group = 50},
                        Case{.name = "table6", .bits = 6, .rule = ValueRule::kTable, .scale = DType::kF32, .group = 64},
                        Case{.name = "table4 g16", .bits = 4, .rule = ValueRule::kTable, .group = 16},
                        Case{.name = "e4m3", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3}}) {
    const StoredWeight w = MakeCoded(c, 70, 128, &owned, &rng);
    const auto packed = ChooseLinear(
        {.parts = {{.weight = std::make_shared<StoredWeight>(w)}}, .k = 128, .policy = ActivationPolicy::kInt8}, {Cpu().isa});
    ASSERT_TRUE(packed);
    EXPECT_EQ(packed->inputs[0].form, XForm::kF32);
    EXPECT_EQ(packed->inputs[0].act.grain, ActivationSpec::kNone) << "floats stay floats";
    EXPECT_FALSE(packed->refused.empty());
  }
}

}  // namespace
}  // namespace nibble
