// SPDX-License-Identifier: Apache-2.0
// bench and compare as a user runs them: what is reported, of which form, and never a share of what fits in the cache.
#include <gmock/gmock.h>

#include "support/program.h"

namespace nibble {
namespace {

using ::testing::HasSubstr;
using testing::Repo;
using testing::RunProgram;

std::string Model() { return Repo("tests/data/models/tales-1m"); }

Json RunJson(const std::string& arguments) {
  const auto ran = RunProgram(arguments + " --threads 2 --json");
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  auto json = ParseJson(ran.output, arguments);
  EXPECT_TRUE(json) << ran.output;
  return json ? *json : Json();
}

TEST(Bench, CountsTheTokensOfEverySequenceOfABatch) {
  const Json json = RunJson(fmt::format("bench '{}' -p 0 -n 4 -r 1 --batch 3 --depth 20", Model()));
  EXPECT_EQ(json.at("prefill").at("tokens"), 0);
  const Json& decode = json.at("decode");
  EXPECT_EQ(decode.at("tokens"), 4);
  EXPECT_EQ(decode.at("batch"), 3);
  EXPECT_EQ(decode.at("depth"), 20);
  EXPECT_GT(decode.at("tok_s").at("median"), 0);
}

TEST(Bench, ClaimsNoShareOfTheBandwidthForWhatFitsInTheCache) {
  const Json json = RunJson(fmt::format("bench '{}' -p 8 -n 4 -r 1", Model()));
  EXPECT_TRUE(json.at("decode").at("fits_in_cache").get<bool>());
  EXPECT_TRUE(json.at("decode").at("share_of_bandwidth").is_null());
  EXPECT_GT(json.at("prefill").at("tok_s").at("median"), 0);
}

TEST(Bench, ADepthOutOfRangeIsRefused) {
  const auto ran = RunProgram(fmt::format("bench '{}' -p 0 -n 4 -r 1 --depth 100000000 --threads 1", Model()));
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr("--depth"));
}

// Speed is that of `run`, quality what the files mean, unless --activations says one form for both.
TEST(Compare, SaysWhichActivationsItMeasuredWith) {
  const std::string compare = fmt::format("compare '{0}' '{0}@int4' --text '{1}' --windows 1 --context 32 -p 8 -n 4 -r 1", Model(),
                                          Repo("models/text/alice.txt"));
  const Json both = RunJson(compare);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].at("speed_activations"), "int16");
  EXPECT_EQ(both[0].at("quality_activations"), "f32");
  EXPECT_GT(both[1].at("kl").at("mean"), 0);
  const Json asked = RunJson(compare + " --activations int8");
  EXPECT_EQ(asked[1].at("speed_activations"), "int8");
  EXPECT_EQ(asked[1].at("quality_activations"), "int8");
  EXPECT_THAT(RunProgram(compare).output, HasSubstr("activations int16"));
}

}  // namespace
}  // namespace nibble
