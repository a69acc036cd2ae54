// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/page_pool.h"

#include <gtest/gtest.h>

#include <numeric>

namespace nibble {
namespace {

std::vector<int32_t> Tokens(int32_t first) {
  std::vector<int32_t> tokens(32);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(PagePool, PagesComeBack) {
  PagePool pool(2);
  const int32_t a = pool.Allocate(), b = pool.Allocate();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool.Allocate(), -1);
  pool.AddReference(a);
  pool.Release(a);
  EXPECT_EQ(pool.Allocate(), -1);
  pool.Release(a);
  EXPECT_EQ(pool.Allocate(), a);
}

TEST(PagePool, SharesPublishedPagesUntilTheirMemoryIsNeeded) {
  PagePool pool(1);
  const auto tokens = Tokens(5);
  const uint64_t hash = PagePool::ChainHash(0, tokens);
  const int32_t page = pool.Allocate();
  EXPECT_EQ(pool.FindShared(hash, tokens), -1);
  pool.Publish(page, hash, tokens);
  pool.Release(page);
  EXPECT_EQ(pool.FindShared(hash, tokens), page);  // revived
  pool.Release(page);
  EXPECT_EQ(pool.FindShared(hash, Tokens(6)), -1);  // the same hash with other tokens is no match
  EXPECT_EQ(pool.Allocate(), page);                 // taken for something else
  EXPECT_EQ(pool.FindShared(hash, tokens), -1);
}

}  // namespace
}  // namespace nibble
