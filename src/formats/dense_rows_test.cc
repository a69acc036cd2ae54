// SPDX-License-Identifier: Apache-2.0
#include "formats/dense_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "formats/transform.h"

namespace nibble {
namespace {

constexpr int64_t kDenseRows = 6, kDenseColumns = 8, kDenseRank = 2;

std::vector<float> RandomFloats(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = normal(random);
  return x;
}

TensorView FloatView(const std::vector<float>& values, int64_t rows, int64_t columns) {
  return {values.data(), DType::kF32, {rows, columns}};
}

std::vector<float> DecodedRows(const StoredWeight& w) {
  std::vector<float> out(static_cast<size_t>(w.n * w.k));
  DecodeRows(w, {0, w.n}, {0, w.k}, out.data());
  return out;
}

TEST(DenseRows, MultipliesInWhatIsDoneToBothSides) {
  const auto w = RandomFloats(kDenseRows * kDenseColumns, 1), a = RandomFloats(kDenseRank * kDenseColumns, 2),
             b = RandomFloats(kDenseRows * kDenseRank, 3), signs = RandomFloats(kDenseColumns, 4),
             scale = RandomFloats(kDenseRows, 5);
  StoredWeight weight = MakeDense(FloatView(w, kDenseRows, kDenseColumns), {}, nullptr);
  weight.in = {{.kind = Transform::kScale, .data = TensorView(signs.data(), DType::kF32, {kDenseColumns})},
               {.kind = Transform::kHadamard}};
  weight.out = {{.kind = Transform::kScale, .data = TensorView(scale.data(), DType::kF32, {kDenseRows})}};
  weight.lora_a = FloatView(a, kDenseRank, kDenseColumns);
  weight.lora_b = FloatView(b, kDenseRows, kDenseRank);
  const auto whole = MultiplyIn(weight);
  ASSERT_TRUE(whole);
  EXPECT_TRUE(whole->in.empty() && whole->out.empty() && !whole->lora_a);
  const std::vector<float> matrix = DecodedRows(*whole);

  const auto x = RandomFloats(kDenseColumns, 6);
  std::vector<float> t = x, scratch(kDenseColumns), y(kDenseRows);
  ASSERT_TRUE(ApplyTransforms(weight.in, t.data(), kDenseColumns, scratch.data()));
  for (int64_t n = 0; n < kDenseRows; ++n)
    for (int64_t k = 0; k < kDenseColumns; ++k)
      y[static_cast<size_t>(n)] += w[static_cast<size_t>(n * kDenseColumns + k)] * t[static_cast<size_t>(k)];
  ASSERT_TRUE(ApplyTransforms(weight.out, y.data(), kDenseRows, scratch.data()));
  for (int64_t n = 0; n < kDenseRows; ++n) {
    double expected = y[static_cast<size_t>(n)], found = 0;
    for (int64_t r = 0; r < kDenseRank; ++r)
      for (int64_t k = 0; k < kDenseColumns; ++k)
        expected += static_cast<double>(b[static_cast<size_t>(n * kDenseRank + r)] * a[static_cast<size_t>(r * kDenseColumns + k)] *
                                        t[static_cast<size_t>(k)]);
    for (int64_t k = 0; k < kDenseColumns; ++k)
      found += static_cast<double>(matrix[static_cast<size_t>(n * kDenseColumns + k)] * x[static_cast<size_t>(k)]);
    EXPECT_NEAR(found, expected, 1e-5);
  }
}

TEST(DenseRows, CutsAndTurnsRows) {
  const auto w = RandomFloats(kDenseRows * kDenseColumns, 7);
  const StoredWeight weight = MakeDense(FloatView(w, kDenseRows, kDenseColumns), {}, nullptr);
  EXPECT_EQ(DecodedRows(*MultiplyIn(weight)), w);
  const std::vector<float> cut = DecodedRows(*CutRows(weight, {2, 5}));
  EXPECT_EQ(cut, std::vector<float>(w.begin() + 2 * kDenseColumns, w.begin() + 5 * kDenseColumns));
  const StoredWeight turned = TransposedRows(weight, {2, 5});
  ASSERT_EQ(turned.n, kDenseColumns);
  ASSERT_EQ(turned.k, 3);
  const std::vector<float> columns = DecodedRows(turned);
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t k = 0; k < kDenseColumns; ++k)
      EXPECT_EQ(columns[static_cast<size_t>(k * 3 + row)], cut[static_cast<size_t>(row * kDenseColumns + k)]);
}

}  // namespace
}  // namespace nibble
