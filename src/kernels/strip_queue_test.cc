// SPDX-License-Identifier: Apache-2.0
#include "kernels/strip_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/thread_team.h"

namespace nibble {
namespace {

TEST(StripQueue, AlonePassesThroughInOrder) {
  StripQueue queue(1);
  for (const int64_t strips : {0, 1, 7}) {
    queue.Begin(0, strips);
    int64_t next = 0;
    for (Range r; !(r = queue.Next(0, 3)).empty(); next = r.end) EXPECT_EQ(r.begin, next);
    EXPECT_EQ(next, strips);
  }
}

TEST(StripQueue, PiecesShrinkToHalfOfWhatIsLeftButNotBelowTwo) {
  StripQueue queue(1);
  queue.Begin(0, 15);
  std::vector<int64_t> sizes;
  for (Range r; !(r = queue.Next(0, 4)).empty();) sizes.push_back(r.size());
  EXPECT_EQ(sizes, (std::vector<int64_t>{4, 4, 3, 2, 2}));
}

TEST(StripQueue, AWorkerThatNeverComesIsReplaced) {
  StripQueue queue(3);
  queue.Begin(1, 10);
  std::vector<int> runs(10);
  for (Range r; !(r = queue.Next(1, 1)).empty();) ++runs[static_cast<size_t>(r.begin)];
  EXPECT_EQ(runs, std::vector<int>(10, 1));
  queue.Begin(0, 10);  // and finds nothing left
  EXPECT_TRUE(queue.Next(0, 1).empty());
}

TEST(StripQueue, EveryStripOnceWithWorkersOfAnySpeed) {
  constexpr int kWorkers = 4;
  ThreadTeam team(kWorkers);
  StripQueue queue(kWorkers);
  constexpr int kLayers = 3000;
  std::vector<std::vector<std::atomic<int>>> runs;
  for (int layer = 0; layer < kLayers; ++layer) runs.emplace_back(static_cast<size_t>(layer % 23));
  team.Run([&](int worker) {
    for (int layer = 0; layer < kLayers; ++layer) {
      if (layer % 7 == worker) std::this_thread::yield();
      queue.Begin(worker, layer % 23);
      for (Range r; !(r = queue.Next(worker, 1 + layer % 3)).empty();)
        for (int64_t i = r.begin; i < r.end; ++i) ++runs[static_cast<size_t>(layer)][static_cast<size_t>(i)];
      team.Barrier();
    }
  });
  for (const auto& layer : runs)
    for (const auto& count : layer) ASSERT_EQ(count.load(), 1);
}

}  // namespace
}  // namespace nibble
