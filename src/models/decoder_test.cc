// SPDX-License-Identifier: Apache-2.0
#include "models/decoder.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble {
namespace {

// Slope i is 2^-exponents[i].
void ExpectSlopes(const std::vector<float>& slopes, const std::vector<double>& exponents) {
  ASSERT_EQ(slopes.size(), exponents.size());
  for (size_t i = 0; i < slopes.size(); ++i) EXPECT_FLOAT_EQ(slopes[i], static_cast<float>(std::exp2(-exponents[i]))) << i;
}

TEST(Alibi, PowersOfTwoOfHeadsHaveAGeometricSequence) {
  ExpectSlopes(AlibiSlopes(8, 8), {1, 2, 3, 4, 5, 6, 7, 8});
  ExpectSlopes(AlibiSlopes(4, 16), {4, 8, 12, 16});
}

TEST(Alibi, OtherCountsTakeTheNextPowersOddMembersLast) {
  ExpectSlopes(AlibiSlopes(12, 8), {1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5});
}

}  // namespace
}  // namespace nibble
