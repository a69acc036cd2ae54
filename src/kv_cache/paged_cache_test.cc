// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/paged_cache.h"

#include <gtest/gtest.h>

namespace nibble {
namespace {

const LayerState kLayer{.heads = 2, .k_dim = 8, .v_dim = 24};

TEST(PagedCache, RowsDoNotOverlap) {
  auto cache = PagedCache::Make({kLayer, kLayer}, KvFormats(DType::kF16), {3 * kPageTokens}).value();
  EXPECT_EQ(cache.K(1, 1, 0) - cache.K(1, 0, 1), kPageTokens * 16 * 2);
  EXPECT_EQ(cache.V(0, 0, 1) - cache.V(0, 0, 0), kPageTokens * 32 * 2);
  EXPECT_EQ(PagedCache::TokenBytes(kLayer, DType::kF16), 2 * (16 + 32) * 2);
}

TEST(PagedCache, EncodedRowsHaveALargestWidth) {
  LayerState wide = kLayer;
  wide.k_dim = kMaxEncodedKvWidth + 16;
  EXPECT_TRUE(PagedCache::Make({wide}, DType::kBF16, {kPageTokens}));
  EXPECT_EQ(PagedCache::Make({wide}, *ParseKvFormats("int4"), {kPageTokens}).error().code, Code::kUnsupported);
}

TEST(PagedCache, WindowsKeepWhatAStepNeeds) {
  LayerState window = kLayer;
  window.window = 40;
  const CacheSize size{.context = 1000, .sequences = 3, .step_rows = 8};
  auto cache = PagedCache::Make({kLayer, window, kLayer, window}, DType::kF16, size).value();
  ASSERT_EQ(cache.groups(), 2);
  EXPECT_EQ(cache.group_of(0), cache.group_of(2));
  EXPECT_EQ(cache.group_of(1), cache.group_of(3));
  EXPECT_EQ(cache.pool(cache.group_of(0)).size(), 3 * 32);
  // 39 positions before the first of 8 rows: 47 positions, over three pages at worst.
  EXPECT_EQ(cache.pool(cache.group_of(1)).size(), 3 * 3);
  EXPECT_EQ(cache.window(cache.group_of(1)), 40);
  // No more than the whole context.
  EXPECT_EQ(PagedCache::SequencePages(window, {.context = 40, .step_rows = 512}), 2);
}

TEST(PagedCache, RewrittenStatesAreNotSharedAndHaveNoPages) {
  const LayerState state{.kind = StateKind::kRecurrent, .heads = 1, .k_dim = 16, .v_dim = 16};
  auto cache = PagedCache::Make({kLayer, state}, DType::kF32, {2 * kPageTokens}).value();
  EXPECT_FALSE(cache.shares_prefixes());
  EXPECT_EQ(cache.group_of(1), -1);
  EXPECT_EQ(PagedCache::Make({state}, DType::kF32, {kPageTokens}).value().groups(), 0);
}

}  // namespace
}  // namespace nibble
