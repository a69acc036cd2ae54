// SPDX-License-Identifier: Apache-2.0
// Every kernel row against the reference, bit for bit (they add in one order), on odd shapes; the reference against f64 within the
// bound.
#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "kernels/random_weights.h"
#include "support/paths.h"

namespace nibble {
namespace {

std::vector<float> RunOn(const std::vector<LinearPart>& parts, const std::vector<float>& x, int64_t m, Isa isa, int threads,
                         const std::string& cache = "") {
  ThreadTeam team(threads);
  auto packed = PrepareLinear({.parts = parts, .k = parts[0].weight->k, .cache_dir = cache}, {isa}, team);
  NIBBLE_CHECK(packed.has_value(), "{}", packed.error().ToString());
  std::vector<float> y(static_cast<size_t>(m * packed->n));
  const LinearArgs args{x.data(), packed->k, y.data(), packed->n, m};
  const std::vector<LinearArgs> inputs(packed->inputs.size(), args);
  team.Run([&](int worker) {
    std::vector<std::byte> scratch(static_cast<size_t>(kLinearScratchBytes));
    RunLinear(*packed, inputs, worker, team.size(), scratch.data());
  });
  return y;
}

// The reference, bypassing selection.
std::vector<float> Reference(const StoredWeight& w, const std::vector<float>& x, int64_t m) {
  Segment segment;
  segment.n = w.n;
  segment.k = w.k;
  segment.weight = std::make_shared<StoredWeight>(w);
  std::vector<float> y(static_cast<size_t>(m * w.n));
  ReferenceFamily().kernels[0].run(segment, {0, segment.strips()}, {x.data(), w.k, y.data(), w.n, m}, nullptr);
  return y;
}

class EveryKernel : public ::testing::TestWithParam<Case> {};

TEST_P(EveryKernel, AgreesWithTheReferenceBitForBit) {
  std::mt19937 rng(7);
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {17, 40}, {64, 128}, {100, 300}, {129, 257}}) {
    Owned owned;
    const StoredWeight w = MakeCoded(GetParam(), n, k, &owned, &rng);
    for (const int64_t m : {1, 2, 5, 13}) {
      const auto x = RandomX(m, k, &rng);
      const auto expected = Reference(w, x, m);
      for (const Isa isa : IsasHere())
        for (const int threads : {1, 2}) {
          const auto y = RunOn({{.weight = std::make_shared<StoredWeight>(w)}}, x, m, isa, threads);
          ASSERT_EQ(y, expected) << GetParam().name << " n " << n << " k " << k << " m " << m << " " << IsaName(isa) << " threads "
                                 << threads;
        }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, EveryKernel,
    ::testing::Values(
        Case{.name = "int2 g16", .bits = 2, .group = 16, .zero = true}, Case{.name = "int3 g32", .bits = 3, .group = 32},
        Case{.name = "int3 asym", .bits = 3, .group = 32, .zero = true},
        Case{.name = "int4 g128 f32", .bits = 4, .scale = DType::kF32, .group = 128},
        Case{.name = "int4 asym", .bits = 4, .scale = DType::kBF16, .group = 32, .zero = true},
        Case{.name = "int4 act-order", .bits = 4, .group = 32, .zero = true, .act_order = true},
        Case{.name = "int5", .bits = 5, .group = 64}, Case{.name = "int6", .bits = 6, .group = 16, .zero = true},
        Case{.name = "int8 channel", .bits = 8}, Case{.name = "int8 asym", .bits = 8, .group = 64, .zero = true},
        Case{.name = "int4 real zero", .bits = 4, .group = 64, .zero = true, .zero_dtype = DType::kF16},
        Case{.name = "int4 bias", .bits = 4, .rule = ValueRule::kIntPlusBias, .group = 64, .zero = true, .zero_dtype = DType::kF32},
        Case{.name = "nf4", .bits = 4, .rule = ValueRule::kTable, .scale = DType::kF32, .group = 64},
        Case{.name = "table8", .bits = 8, .rule = ValueRule::kTable, .group = 64},
        Case{.name = "e4m3", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3},
        Case{.name = "e4m3 g32", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3, .group = 32},
        Case{.name = "e4m3 g128", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3, .group = 128},
        Case{.name = "e4m3 g192", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3, .group = 192},
        Case{.name = "e5m2", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE5M2, .group = 32},
        Case{.name = "e2m1", .bits = 4, .rule = ValueRule::kFloat, .float_type = DType::kE2M1, .group = 16},
        Case{.name = "e3m2", .bits = 6, .rule = ValueRule::kFloat, .float_type = DType::kE3M2, .group = 32}),
    [](const auto& test) {
      std::string name = test.param.name;
      for (char& ch : name)
        if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
      return name;
    });

TEST(Linear, DenseWeightsOfEveryDType) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    Owned owned;
    const auto w =
        std::make_shared<StoredWeight>(MakeDense(owned.Make(dtype, {70, 200}, [&](int64_t) { return normal(rng); }), {}, nullptr));
    const auto x = RandomX(7, 200, &rng);
    const auto expected = Reference(*w, x, 7);
    for (const Isa isa : IsasHere()) EXPECT_EQ(RunOn({{.weight = w}}, x, 7, isa, 2), expected) << DTypeName(dtype) << IsaName(isa);
  }
}

TEST(Linear, PartsOfDifferentFormatsAreExactPerPart) {
  std::mt19937 rng(11);
  Owned owned;
  const auto a = std::make_shared<StoredWeight>(MakeCoded({.name = "a", .bits = 4, .group = 32}, 96, 128, &owned, &rng));
  const auto b = std::make_shared<StoredWeight>(
      MakeDense(owned.Make(DType::kBF16, {33, 128}, [&](int64_t i) { return std::sin(static_cast<float>(i)); }), {}, nullptr));
  const TensorView bias = owned.Make(DType::kF32, {33}, [](int64_t i) { return static_cast<float>(i); });
  const auto x = RandomX(3, 128, &rng);
  auto ya = Reference(*a, x, 3), yb = Reference(*b, x, 3);
  const auto y = RunOn({{.weight = a}, {.weight = b, .bias = bias}}, x, 3, Cpu().isa, 2);
  for (int64_t m = 0; m < 3; ++m) {
    for (int64_t n = 0; n < 96; ++n) EXPECT_EQ(y[static_cast<size_t>(m * 129 + n)], ya[static_cast<size_t>(m * 96 + n)]);
    for (int64_t n = 0; n < 33; ++n)
      EXPECT_EQ(y[static_cast<size_t>(m * 129 + 96 + n)], yb[static_cast<size_t>(m * 33 + n)] + static_cast<float>(n));
  }
}

TEST(Linear, ReferenceStaysWithinItsBound) {
  std::mt19937 rng(5);
  const int64_t n = 20, k = 1000;
  const Case int4 = {.name = "w", .bits = 4, .group = 50, .zero = true};
  const Case e4m3 = {.name = "e4m3", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3};
  for (const Case& c : {int4, e4m3}) {
    Owned owned;
    const StoredWeight w = MakeCoded(c, n, k, &owned, &rng);
    const auto x = RandomX(1, k, &rng);
    const auto y = Reference(w, x, 1);
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t i = 0; i < n; ++i) {
      DecodeRows(w, {i, i + 1}, {0, k}, row.data());
      double exact = 0, magnitude = 0;
      for (size_t j = 0; j < row.size(); ++j) {
        exact += static_cast<double>(row[j]) * x[j];
        magnitude += std::abs(static_cast<double>(row[j]) * x[j]);
      }
      EXPECT_LE(std::abs(static_cast<double>(y[static_cast<size_t>(i)]) - exact), RoundingBound(k) * magnitude) << c.name;
    }
  }
}

TEST(Linear, EveryGgmlFormatRunsAsItDecodes) {
  std::mt19937 rng(13);
  int formats = 0;
  for (const FormatId format : Formats()) {
    if (!format->is_blocked() || !format->decode) continue;
    ++formats;
    const int64_t n = 70, k = std::max(256, 2 * format->block_elems);
    const StoredWeight w = MakeBlocked(format, n, k, &rng);
    const auto x = RandomX(3, k, &rng);
    const auto expected = Reference(w, x, 3);
    for (const Isa isa : IsasHere())
      EXPECT_EQ(RunOn({{.weight = std::make_shared<StoredWeight>(w)}}, x, 3, isa, 2), expected)
          << format->name << " " << IsaName(isa);
  }
  EXPECT_GT(formats, 0);
}

TEST(Linear, PackCacheGivesTheSameBytesAndReplacesDamage) {
  std::mt19937 rng(17);
  Owned owned;
  const testing::TempDir dir;
  const auto w = std::make_shared<StoredWeight>(MakeCoded({.name = "w", .bits = 4, .group = 32}, 100, 256, &owned, &rng));
  const auto x = RandomX(2, 256, &rng);
  const auto expected = RunOn({{.weight = w}}, x, 2, Cpu().isa, 2);
  EXPECT_EQ(RunOn({{.weight = w}}, x, 2, Cpu().isa, 2, dir.path()), expected);
  EXPECT_EQ(RunOn({{.weight = w}}, x, 2, Cpu().isa, 2, dir.path()), expected);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    ++files;
    std::filesystem::resize_file(entry.path(), 5000);
  }
  EXPECT_EQ(files, 1);
  EXPECT_EQ(RunOn({{.weight = w}}, x, 2, Cpu().isa, 2, dir.path()), expected);
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-100, std::ios::end);
    const int byte = file.get();
    file.seekp(-100, std::ios::end);
    file.put(static_cast<char>(byte ^ 1));
    EXPECT_TRUE(file);
  }
  EXPECT_EQ(RunOn({{.weight = w}}, x, 2, Cpu().isa, 2, dir.path()), expected);
}

// Experts of a stack, gate and up of one tensor, rows picked from a fused one: the same name and shape.
TEST(Linear, PackCacheTellsApartWeightsOfOneName) {
  std::mt19937 rng(23);
  Owned owned;
  const testing::TempDir dir;
  const auto a = std::make_shared<StoredWeight>(MakeCoded({.name = "w", .bits = 4, .group = 32}, 96, 128, &owned, &rng));
  const auto b = std::make_shared<StoredWeight>(MakeCoded({.name = "w", .bits = 4, .group = 32}, 96, 128, &owned, &rng));
  const auto turned = std::make_shared<StoredWeight>(*a);  // its rows the other way round, but for those at the ends
  turned->row_map = owned.Make(DType::kI32, {96}, [](int64_t n) { return static_cast<float>(n == 0 || n == 95 ? n : 95 - n); });
  const auto x = RandomX(1, 128, &rng);
  for (int start = 0; start < 2; ++start)
    for (const auto& w : {a, b, turned})
      EXPECT_EQ(RunOn({{.weight = w}}, x, 1, Cpu().isa, 2, dir.path()), Reference(*w, x, 1)) << start;
}

TEST(Linear, NaNScalesAreFoundWhilePacking) {
  std::mt19937 rng(19);
  Owned owned;
  StoredWeight w = MakeCoded({.name = "model.layers.0.up_proj", .bits = 4, .group = 32}, 64, 64, &owned, &rng);
  w.origin.file = "model.safetensors";
  const_cast<std::byte*>(std::get<Coded>(w.body).scale.data.data)[1] = std::byte{0x7e};  // f16 NaN
  const_cast<std::byte*>(std::get<Coded>(w.body).scale.data.data)[0] = std::byte{1};
  ThreadTeam team(1);
  const auto packed = PrepareLinear({.parts = {{.weight = std::make_shared<StoredWeight>(w)}}, .k = 64}, {Cpu().isa}, team);
  ASSERT_FALSE(packed);
  EXPECT_EQ(packed.error().code, Code::kCorrupt);
  EXPECT_NE(packed.error().message.find("model.layers.0.up_proj"), std::string::npos);
}

}  // namespace
}  // namespace nibble
