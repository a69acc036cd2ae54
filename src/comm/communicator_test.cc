// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.h"

#include <gtest/gtest.h>

#include <thread>

namespace nibble {
namespace {

TEST(ThreadCommunicator, SumsAndGathersInRankOrder) {
  constexpr int kRanks = 3;
  auto comms = MakeThreadCommunicators(kRanks);
  std::vector<std::vector<float>> sums(kRanks), gathered(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      for (int round = 0; round < 50; ++round) {
        std::vector<float> data = {1.0f * static_cast<float>(rank), 10.0f + static_cast<float>(round)};
        comms[static_cast<size_t>(rank)]->AllReduceSum(data.data(), 2);
        sums[static_cast<size_t>(rank)] = data;
        const int64_t width = rank + 1;
        std::vector<float> in(static_cast<size_t>(2 * width), static_cast<float>(rank)), out(12);
        comms[static_cast<size_t>(rank)]->AllGather(in.data(), 2, width, out.data());
        gathered[static_cast<size_t>(rank)] = out;
      }
    });
  for (auto& t : threads) t.join();
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_EQ(sums[static_cast<size_t>(rank)], (std::vector<float>{3, 177}));
    EXPECT_EQ(gathered[static_cast<size_t>(rank)], (std::vector<float>{0, 1, 1, 2, 2, 2, 0, 1, 1, 2, 2, 2}));
  }
}

}  // namespace
}  // namespace nibble
