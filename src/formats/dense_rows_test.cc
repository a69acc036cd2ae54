// SPDX-License-Identifier: Apache-2.0
#include "formats/dense_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "formats/transform.h"

namespace nibble {
namespace {

constexpr int64_t kN = 6, kK = 8, kRank = 2;

std::vector<float> Random(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = normal(random);
  return x;
}

TensorView View(const std::vector<float>& values, int64_t rows, int64_t columns) {
  return {values.data(), DType::kF32, {rows, columns}};
}

std::vector<float> Rows(const StoredWeight& w) {
  std::vector<float> out(static_cast<size_t>(w.n * w.k));
  DecodeRows(w, {0, w.n}, {0, w.k}, out.data());
  return out;
}

TEST(DenseRows, MultipliesInWhatIsDoneToBothSides) {
  const auto w = Random(kN * kK, 1), a = Random(kRank * kK, 2), b = Random(kN * kRank, 3), signs = Random(kK, 4),
             scale = Random(kN, 5);
  StoredWeight weight = MakeDense(View(w, kN, kK), {}, nullptr);
  weight.in = {{.kind = Transform::kScale, .data = TensorView(signs.data(), DType::kF32, {kK})}, {.kind = Transform::kHadamard}};
  weight.out = {{.kind = Transform::kScale, .data = TensorView(scale.data(), DType::kF32, {kN})}};
  weight.lora_a = View(a, kRank, kK);
  weight.lora_b = View(b, kN, kRank);
  const auto whole = MultiplyIn(weight);
  ASSERT_TRUE(whole);
  EXPECT_TRUE(whole->in.empty() && whole->out.empty() && !whole->lora_a);
  const std::vector<float> matrix = Rows(*whole);

  const auto x = Random(kK, 6);
  std::vector<float> t = x, scratch(kK), y(kN);
  ASSERT_TRUE(ApplyTransforms(weight.in, t.data(), kK, scratch.data()));
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t k = 0; k < kK; ++k) y[static_cast<size_t>(n)] += w[static_cast<size_t>(n * kK + k)] * t[static_cast<size_t>(k)];
  ASSERT_TRUE(ApplyTransforms(weight.out, y.data(), kN, scratch.data()));
  for (int64_t n = 0; n < kN; ++n) {
    double expected = y[static_cast<size_t>(n)], found = 0;
    for (int64_t r = 0; r < kRank; ++r)
      for (int64_t k = 0; k < kK; ++k)
        expected += static_cast<double>(b[static_cast<size_t>(n * kRank + r)] * a[static_cast<size_t>(r * kK + k)] *
                                        t[static_cast<size_t>(k)]);
    for (int64_t k = 0; k < kK; ++k)
      found += static_cast<double>(matrix[static_cast<size_t>(n * kK + k)] * x[static_cast<size_t>(k)]);
    EXPECT_NEAR(found, expected, 1e-5);
  }
}

TEST(DenseRows, CutsAndTurnsRows) {
  const auto w = Random(kN * kK, 7);
  const StoredWeight weight = MakeDense(View(w, kN, kK), {}, nullptr);
  EXPECT_EQ(Rows(*MultiplyIn(weight)), w);
  const std::vector<float> cut = Rows(*CutRows(weight, {2, 5}));
  EXPECT_EQ(cut, std::vector<float>(w.begin() + 2 * kK, w.begin() + 5 * kK));
  const StoredWeight turned = TransposedRows(weight, {2, 5});
  ASSERT_EQ(turned.n, kK);
  ASSERT_EQ(turned.k, 3);
  const std::vector<float> columns = Rows(turned);
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t k = 0; k < kK; ++k) EXPECT_EQ(columns[static_cast<size_t>(k * 3 + row)], cut[static_cast<size_t>(row * kK + k)]);
}

}  // namespace
}  // namespace nibble
