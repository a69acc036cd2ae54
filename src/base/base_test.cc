// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "base/byte_reader.h"
#include "base/cpu.h"
#include "base/math.h"
#include "base/nearest_names.h"
#include "base/status.h"
#include "base/thread_team.h"

namespace nibble {
namespace {

Result<int> Half(int x) {
  if (x % 2) return Corrupt("{} is odd", x);
  return x / 2;
}
Result<int> Quarter(int x) {
  NIBBLE_TRY(const int half, Half(x));
  NIBBLE_TRY_IN("second step", const int quarter, Half(half));
  return quarter;
}

TEST(Status, TryPassesValuesAndErrors) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(7).error().ToString(), "corrupt: 7 is odd");
  EXPECT_EQ(Quarter(6).error().ToString(), "corrupt: second step: 3 is odd");
}

TEST(Status, ExitCodesAreThoseOfTheDocumentation) {
  EXPECT_EQ(ExitCode(Code::kCheckFailed), 1);
  EXPECT_EQ(ExitCode(Code::kUsage), 2);
  EXPECT_EQ(ExitCode(Code::kCorrupt), 3);
  EXPECT_EQ(ExitCode(Code::kUnsupported), 4);
  EXPECT_EQ(ExitCode(Code::kIo), 5);
  EXPECT_EQ(ExitCode(Code::kInternal), 70);
}

TEST(Math, CheckedArithmeticRefusesToWrap) {
  EXPECT_FALSE(CheckedMul(INT64_MAX, 2));
  EXPECT_FALSE(CheckedAdd(INT64_MAX, 1));
  EXPECT_EQ(*CheckedMul(1 << 20, 1 << 20), int64_t{1} << 40);
}

TEST(Math, SplitRangeCoversEverythingOnce) {
  for (int64_t total : {0, 1, 7, 64, 1000}) {
    for (int64_t count : {1, 2, 3, 8}) {
      int64_t next = 0;
      for (int64_t i = 0; i < count; ++i) {
        const Range range = SplitRange(total, i, count, 16);
        EXPECT_EQ(range.begin, next);
        next = range.end;
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(ByteReader, NeverReadsPastTheEnd) {
  const std::byte bytes[5] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}};
  ByteReader reader(bytes);
  EXPECT_EQ(*reader.Read<uint32_t>(), 0x04030201u);
  EXPECT_FALSE(reader.Read<uint16_t>());
  EXPECT_FALSE(reader.ReadBytes(UINT64_MAX));
  EXPECT_EQ(*reader.Read<uint8_t>(), 5);
  EXPECT_EQ(reader.left(), 0u);
}

TEST(Cpu, DetectsSomething) {
  EXPECT_GE(Cpu().cores, 1);
  EXPECT_GT(Cpu().memory_bytes, 0);
  EXPECT_GT(AvailableMemoryBytes(), 0);
}

TEST(ThreadTeam, EveryWorkerRunsOncePerRegion) {
  for (int threads : {1, 2, 4}) {
    ThreadTeam team(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> runs(static_cast<size_t>(threads));
      team.Run([&](int worker) { ++runs[static_cast<size_t>(worker)]; });
      for (int r : runs) EXPECT_EQ(r, 1);
    }
  }
}

TEST(ThreadTeam, BarrierOrdersPhases) {
  ThreadTeam team(3);
  constexpr int kPhases = 500;
  std::atomic<int> counter{0}, wrong{0};
  team.Run([&](int) {
    for (int phase = 0; phase < kPhases; ++phase) {
      counter.fetch_add(1);
      team.Barrier();
      if (counter.load() != 3 * (phase + 1)) wrong.fetch_add(1);
      team.Barrier();
    }
  });
  EXPECT_EQ(wrong.load(), 0);
}

TEST(NearestNames, OrdersByDistance) {
  EXPECT_EQ(NearestNames("abc", {"xyz", "abd", "abc1"}, 2), "abd, abc1");
  EXPECT_EQ(NearestNames("abc", {}), "");
}

}  // namespace
}  // namespace nibble
