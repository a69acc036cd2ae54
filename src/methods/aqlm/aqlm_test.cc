// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "methods/checkpoint_test.h"

namespace nibble {
namespace {

TEST(Aqlm, AddsVectorsOfItsBooks) {
  constexpr int64_t kN = 4;
  std::vector<int8_t> codes(kN * 2 * 2);
  std::vector<float> books(2 * 256 * 8), scales(kN);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<int8_t>(40 * i);  // wraps below zero: 200 is -56
  for (size_t i = 0; i < books.size(); ++i) books[i] = static_cast<float>(i);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<float>(1 << i);
  StoredTensor c, b, s;
  c.view = TensorView(codes.data(), DType::kI8, {kN, 2, 2});
  b.view = TensorView(books.data(), DType::kF32, {2, 256, 1, 8});
  s.view = TensorView(scales.data(), DType::kF32, {kN, 1, 1, 1});
  const auto config =
      *FindQuantization("aqlm")->from_config(*ParseJson(R"({"num_codebooks":2,"nbits_per_codebook":8})", "test"), {"config.json"});
  EXPECT_EQ(config->EstimateBits({.name = "m"}), 2);
  const auto method = *config->GetQuantMethod({.name = "m"});
  BoundParams params{.name = "m", .params = {{"codes", &c}, {"codebooks", &b}, {"scales", &s}}};
  const auto part = method->MakeWeight(params);
  ASSERT_TRUE(part) << part.error().ToString();
  const auto shard = Slice(*part->weight, {1, 4}, {4, 16});
  ASSERT_TRUE(shard);
  std::vector<float> out(3 * 12);
  DecodeRows(*shard, {0, 3}, {0, 12}, out.data());
  for (size_t n = 1; n < 4; ++n)
    for (size_t k = 4; k < 16; ++k) {
      const size_t at = (n * 2 + k / 8) * 2, first = (40 * at) % 256, second = (40 * (at + 1)) % 256;
      EXPECT_EQ(out[(n - 1) * 12 + k - 4],
                scales[n] * (static_cast<float>(first * 8 + k % 8) + static_cast<float>(2048 + second * 8 + k % 8)));
    }
  params.n = 5;
  params.k = 16;
  EXPECT_EQ(method->MakeWeight(params).error().code, Code::kCorrupt);
  const auto bad = FindQuantization("aqlm")->from_config(*ParseJson(R"({"in_group_size":0})", "test"), {"config.json"});
  EXPECT_EQ(bad.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
