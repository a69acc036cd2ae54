// SPDX-License-Identifier: Apache-2.0
#include "formats/stored_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

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

}  // namespace
}  // namespace nibble
