// SPDX-License-Identifier: Apache-2.0
#include "formats/transform.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble {
namespace {

std::vector<float> Apply(std::vector<Transform> transforms, std::vector<float> x) {
  std::vector<float> scratch(x.size());
  const auto width = static_cast<int64_t>(x.size());
  EXPECT_TRUE(CheckTransforms(transforms, width));
  EXPECT_TRUE(ApplyTransforms(transforms, x.data(), width, scratch.data()));
  return x;
}

TEST(Transform, HadamardIsTheOrthonormalSylvesterMatrix) {
  Transform hadamard{Transform::kHadamard, {}, {}, 0, false};
  const std::vector<float> y = Apply({hadamard}, {1, 2, 3, 4, 5, 6, 7, 8});
  const float norm = 1 / std::sqrt(8.0f);
  const float expected[] = {36, -4, -8, 0, -16, 0, 0, 0};
  for (size_t i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(y[i], expected[i] * norm) << i;
}

TEST(Transform, EveryKindIsUndoneByItsInverse) {
  const float signs[] = {1, -1, -1, 1, 1, 1, -1, -1, 1, -1, 1, 1}, scale[] = {1, 2, 4, 8, .5f, 1, 2, 4, 8, 1, 1, 1};
  const int32_t order[] = {3, 1, 0, 2, 7, 6, 5, 4, 11, 10, 8, 9}, pairs[] = {0, 5, 5, 7, 11, 2};
  const float angles[] = {0.3f, -1.2f, 2.5f};
  const float matrix[] = {0, 1, 0, 0, 0, 1, 1, 0, 0};  // a permutation, orthogonal
  std::vector<Transform> forward = {
      {Transform::kScale, TensorView(scale, DType::kF32, {12}), {}, 0, false},
      {Transform::kPermute, TensorView(order, DType::kI32, {12}), {}, 0, false},
      {Transform::kHadamard, TensorView(signs, DType::kF32, {12}), {}, 4, false},
      {Transform::kGivens, TensorView(angles, DType::kF32, {3}), TensorView(pairs, DType::kI32, {3, 2}), 0, false},
      {Transform::kMatrix, TensorView(matrix, DType::kF32, {3, 3}), {}, 3, false},
  };
  const std::vector<float> x = {1, -2, 3, 4, 5.5f, -6, 7, 8, 0, 1, 2, 3};
  std::vector<Transform> both = forward;
  for (auto t = forward.rbegin(); t != forward.rend(); ++t) {
    both.push_back(*t);
    both.back().inverse = true;
  }
  const std::vector<float> y = Apply(both, x), moved = Apply(forward, x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], x[i], 1e-5) << i;
  EXPECT_NE(moved, x);
}

TEST(Transform, KroneckerWithAStoredBaseMatrix) {
  const float base[] = {1, 1, 1, -1};
  const Transform stored{Transform::kHadamard, {}, TensorView(base, DType::kF32, {2, 2}), 0, false};
  const Transform plain{Transform::kHadamard, {}, {}, 0, false};
  const std::vector<float> x = {1, -2, 3, 4, 5.5f, -6, 7, 8};
  const std::vector<float> a = Apply({stored}, x), b = Apply({plain}, x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_FLOAT_EQ(a[i], b[i]);
}

TEST(Transform, RefusesWhatItCannotDo) {
  const Transform hadamard{Transform::kHadamard, {}, {}, 0, false};
  EXPECT_EQ(CheckTransforms(std::vector{hadamard}, 352).error().code, Code::kUnsupported);
  const int32_t order[] = {0, 4};
  EXPECT_EQ(CheckTransforms(std::vector{Transform{Transform::kPermute, TensorView(order, DType::kI32, {2}), {}, 0, false}}, 2)
                .error()
                .code,
            Code::kCorrupt);
  EXPECT_EQ(
      CheckTransforms(std::vector{Transform{Transform::kScale, TensorView(order, DType::kI32, {2}), {}, 0, false}}, 3).error().code,
      Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
