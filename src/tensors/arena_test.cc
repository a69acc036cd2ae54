// SPDX-License-Identifier: Apache-2.0
#include "tensors/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace nibble {
namespace {

bool IsAligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; }

TEST(Arena, PartsDoNotOverlapAndAreZero) {
  Arena arena;
  std::vector<std::shared_ptr<std::byte>> parts;
  const std::vector<int64_t> sizes = {1, 64, 1000, 3 << 20, 65 << 20, 7, 40 << 20, 40 << 20};
  for (const int64_t size : sizes) {
    parts.push_back(arena.Take(size));
    ASSERT_TRUE(IsAligned(parts.back().get()));
    EXPECT_EQ(parts.back().get()[0], std::byte{0});
    EXPECT_EQ(parts.back().get()[size - 1], std::byte{0});
    std::memset(parts.back().get(), static_cast<int>(parts.size()), static_cast<size_t>(size));
  }
  for (size_t i = 0; i < sizes.size(); ++i)
    for (const int64_t at : {int64_t{0}, sizes[i] / 2, sizes[i] - 1}) EXPECT_EQ(parts[i].get()[at], static_cast<std::byte>(i + 1));
}

TEST(Arena, PartsOutliveIt) {
  std::shared_ptr<std::byte> part;
  {
    Arena arena;
    part = arena.Take(100);
  }
  std::memset(part.get(), 1, 100);
  EXPECT_EQ(part.get()[99], std::byte{1});
}

}  // namespace
}  // namespace nibble
