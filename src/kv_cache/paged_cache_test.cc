// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/paged_cache.h"

#include <gtest/gtest.h>

#include <numeric>

namespace nibble {
namespace {

const LayerState kLayer{.heads = 2, .k_dim = 8, .v_dim = 24};

std::vector<int32_t> Tokens(int32_t first) {
  std::vector<int32_t> tokens(static_cast<size_t>(kPageTokens));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(PagedCache, RowsDoNotOverlap) {
  auto cache = PagedCache::Make({kLayer, kLayer}, KvFormats(DType::kF16), 3).value();
  EXPECT_EQ(cache.K(1, 1, 0) - cache.K(1, 0, 1), kPageTokens * 16 * 2);
  EXPECT_EQ(cache.V(0, 0, 1) - cache.V(0, 0, 0), kPageTokens * 32 * 2);
  EXPECT_EQ(cache.page_bytes(), 2 * 2 * kPageTokens * (16 + 32) * 2);
}

TEST(PagedCache, EncodedRowsHaveALargestWidth) {
  LayerState wide = kLayer;
  wide.k_dim = kMaxEncodedKvWidth + 16;
  EXPECT_TRUE(PagedCache::Make({wide}, DType::kBF16, 1));
  EXPECT_EQ(PagedCache::Make({wide}, *ParseKvFormats("int4"), 1).error().code, Code::kUnsupported);
}

TEST(PagedCache, PagesComeBack) {
  auto cache = PagedCache::Make({kLayer}, DType::kF32, 2).value();
  const int32_t a = cache.Allocate(), b = cache.Allocate();
  EXPECT_NE(a, b);
  EXPECT_EQ(cache.Allocate(), -1);
  cache.AddReference(a);
  cache.Release(a);
  EXPECT_EQ(cache.Allocate(), -1);
  cache.Release(a);
  EXPECT_EQ(cache.Allocate(), a);
}

TEST(PagedCache, SharesPublishedPagesUntilTheirMemoryIsNeeded) {
  auto cache = PagedCache::Make({kLayer}, DType::kF32, 1).value();
  const auto tokens = Tokens(5);
  const uint64_t hash = PagedCache::ChainHash(0, tokens);
  const int32_t page = cache.Allocate();
  EXPECT_EQ(cache.FindShared(hash, tokens), -1);
  cache.Publish(page, hash, tokens);
  cache.Release(page);
  EXPECT_EQ(cache.FindShared(hash, tokens), page);  // revived
  cache.Release(page);
  EXPECT_EQ(cache.FindShared(hash, Tokens(6)), -1);  // the same hash with other tokens is no match
  EXPECT_EQ(cache.Allocate(), page);                 // taken for something else
  EXPECT_EQ(cache.FindShared(hash, tokens), -1);
}

TEST(PagedCache, RecurrentStatesAreNotShared) {
  auto cache =
      PagedCache::Make({kLayer, {.kind = StateKind::kRecurrent, .heads = 1, .k_dim = 16, .v_dim = 16}}, DType::kF32, 2).value();
  EXPECT_FALSE(cache.shares_prefixes());
  const auto tokens = Tokens(1);
  const int32_t page = cache.Allocate();
  cache.Publish(page, 1, tokens);
  EXPECT_EQ(cache.FindShared(1, tokens), -1);
}

}  // namespace
}  // namespace nibble
