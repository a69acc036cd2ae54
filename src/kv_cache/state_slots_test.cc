// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/state_slots.h"

#include <gtest/gtest.h>

#include "kv_cache/paged_cache.h"

namespace nibble {
namespace {

constexpr LayerState kAttention{.heads = 2, .k_dim = 16, .v_dim = 16};
constexpr LayerState kMatrix{.kind = StateKind::kRecurrent, .heads = 3, .k_dim = 5, .v_dim = 7};
constexpr LayerState kInputs{.kind = StateKind::kConvolution, .heads = 1, .k_dim = 3, .v_dim = 20};

TEST(StateSlots, EverySlotOfEveryLayerIsItsOwn) {
  auto slots = StateSlots::Make({kMatrix, kAttention, kInputs}, 2).value();
  EXPECT_EQ(StateSlots::Bytes(kMatrix), 4 * 3 * 5 * 7);
  EXPECT_EQ(StateSlots::Bytes(kAttention), 0);
  EXPECT_EQ(slots.At(0, 1) - slots.At(0, 0), 3 * 5 * 7);
  EXPECT_EQ(slots.At(2, 1) - slots.At(2, 0), 3 * 20);
}

TEST(StateSlots, GivesEachSlotOnceUntilItIsReturned) {
  auto slots = StateSlots::Make({kMatrix}, 2).value();
  const int32_t a = slots.Allocate(), b = slots.Allocate();
  EXPECT_NE(a, b);
  EXPECT_EQ(slots.Allocate(), -1);
  slots.Release(a);
  EXPECT_EQ(slots.free_slots(), 1);
  EXPECT_EQ(slots.Allocate(), a);
}

TEST(StateSlots, ACacheHasThemOnlyForRewrittenStatesAndTheyTakeNoPages) {
  EXPECT_EQ(PagedCache::Make({kAttention}, DType::kF32, {64})->slots(), nullptr);
  auto cache = PagedCache::Make({kAttention, kMatrix, kInputs}, DType::kF32, {64, 3}).value();
  ASSERT_TRUE(cache.slots());
  EXPECT_EQ(cache.slots()->free_slots(), 3);
  EXPECT_FALSE(cache.shares_prefixes());
  EXPECT_EQ(PagedCache::TokenBytes(kMatrix, DType::kF32), 0);
}

}  // namespace
}  // namespace nibble
