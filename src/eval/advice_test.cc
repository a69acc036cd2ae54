// SPDX-License-Identifier: Apache-2.0
#include "eval/advice.h"

#include <gtest/gtest.h>

#include "formats/online.h"
#include "support/paths.h"

namespace nibble {
namespace {

Advice Ask(int64_t available, double max_kl) {
  const auto checkpoint = Checkpoint::Open(testing::Repo("models/tales-5m"), CheckpointKind::kHubFolder);
  EXPECT_TRUE(checkpoint);
  const auto config = ConfigOf(**checkpoint, {});
  EXPECT_TRUE(config);
  const auto advice = Advise(**checkpoint, *config, {.context = 256}, available, max_kl);
  EXPECT_TRUE(advice);
  return *advice;
}

std::string_view Chosen(const Advice& advice) {
  return advice.chosen < 0 ? "none" : advice.rows[static_cast<size_t>(advice.chosen)].format.name;
}

TEST(Advice, EveryOnlineFormatIsMeasuredAndEveryRowExists) {
  for (const OnlineFormat& format : OnlineFormats()) {
    const auto& rows = MeasuredFormats();
    EXPECT_TRUE(std::any_of(rows.begin(), rows.end(), [&](const MeasuredFormat& row) { return row.name == format.name; }))
        << format.name << ": run tools/measure_formats.py";
  }
  for (const MeasuredFormat& row : MeasuredFormats()) EXPECT_TRUE(row.name == "float" || FindOnlineFormat(row.name)) << row.name;
}

TEST(Advice, TakesTheFewestBitsThatAreGoodEnough) {
  const int64_t plenty = int64_t{1} << 40;
  EXPECT_EQ(Chosen(Ask(plenty, 0)), "float");
  const Advice some = Ask(plenty, 2e-2);
  for (const AdviceRow& row : some.rows)
    if (row.good_enough) {
      EXPECT_GE(row.format.bits, some.rows[static_cast<size_t>(some.chosen)].format.bits);
    }
  EXPECT_EQ(some.chosen, Ask(plenty, 2e-2).chosen);
}

TEST(Advice, TakesTheBestThatFitsWhenNoneIsGoodEnough) {
  const Advice all = Ask(int64_t{1} << 40, 2e-2);
  const int64_t tight = all.rows[all.rows.size() / 2].total_bytes;
  const Advice advice = Ask(tight, 0);
  ASSERT_GE(advice.chosen, 0);
  for (const AdviceRow& row : advice.rows)
    if (row.fits) {
      EXPECT_GE(row.format.kl, advice.rows[static_cast<size_t>(advice.chosen)].format.kl);
    }
  EXPECT_EQ(Chosen(Ask(1000, 0)), "none");
}

}  // namespace
}  // namespace nibble
