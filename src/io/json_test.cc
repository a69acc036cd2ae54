// SPDX-License-Identifier: Apache-2.0
#include "io/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

TEST(Json, LimitsTheDepthOutsideOfStrings) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_TRUE(ParseJson(nested(kMaxJsonDepth), "f"));
  EXPECT_THAT(ParseJson(nested(kMaxJsonDepth + 1), "f").error().message, HasSubstr("deeper than 128"));
  EXPECT_THAT(ParseOrderedJson(std::string(1000000, '{'), "f").error().message, HasSubstr("deeper"));
  EXPECT_TRUE(ParseJson("[\"" + std::string(1000, '[') + "\\\"[\", {\"a\":1}]", "f"));
}

TEST(Json, NamesThePlaceOfAnError) {
  for (const char* text : {"", "{", "{\"a\":}", "[1,]", "nul", "\"\xff\"", "{} x", "\"\\", "[\"\\u12\"]"}) {
    const auto json = ParseJson(text, "model/config.json");
    ASSERT_FALSE(json) << text;
    EXPECT_EQ(json.error().code, Code::kCorrupt);
    EXPECT_THAT(json.error().message, HasSubstr("model/config.json: not valid JSON")) << text;
  }
}

TEST(Json, IsLinearInTheNumberOfObjects) {
  std::string text = "[";
  for (int i = 0; i < 300000; ++i) text += "{},";
  text += "{}]";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(ParseJson(text, "f"));
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 5.0);
}

TEST(Json, TypedAccessNamesKeyFoundAndWanted) {
  const Json json = ParseJson(R"({"i":3,"f":4096.0,"h":0.5,"s":"x","b":true,"n":null,"big":18446744073709551615})", "f").value();
  EXPECT_EQ(JsonInt(json, "i").value(), 3);
  EXPECT_EQ(JsonInt(json, "f").value(), 4096);
  EXPECT_EQ(JsonInt(json, "n", 7).value(), 7);
  EXPECT_EQ(JsonInt(json, "absent", 7).value(), 7);
  EXPECT_THAT(JsonInt(json, "absent").error().message, HasSubstr("\"absent\" is missing"));
  EXPECT_THAT(JsonInt(json, "h").error().message, HasSubstr("\"h\": found 0.5, wanted an integer"));
  EXPECT_FALSE(JsonInt(json, "big"));
  EXPECT_EQ(JsonNumber(json, "i").value(), 3.0);
  EXPECT_FALSE(JsonBool(json, "i"));
  EXPECT_EQ(JsonString(json, "s").value(), "x");
  EXPECT_FALSE(JsonString(json, "i"));
}

TEST(Json, ReadsFilesUpToTheLimit) {
  EXPECT_TRUE(ReadJsonFile(testing::Repo("tests/data/models/stories260K/config.json")));
  EXPECT_THAT(ReadJsonFile(testing::Repo("tests/data/models/stories260K/config.json"), 10).error().message,
              HasSubstr("more than the 10"));
  EXPECT_EQ(ReadJsonFile(testing::Repo("tests")).error().code, Code::kIo);
  EXPECT_EQ(ReadJsonFile(testing::Repo("none")).error().code, Code::kNotFound);
}

TEST(JsonKeyOrder, KeepsTheFilesOrderOfOneObject) {
  const std::string text =
      R"({"z":{"inner":{"no":1}},"list":[{"inner":{"no":1}}],"a":{"x":[1,{"q":2}],"inner":{"b":{"k":1},"a":2,"c":[{"d":1}]},
                             "y":{"inner":{"no":1}}},"inner":{"no":1}})";
  const auto keys = [&](std::vector<std::string> path) { return *JsonKeyOrder(text, path, "test"); };
  EXPECT_EQ(keys({"a", "inner"}), (std::vector<std::string>{"b", "a", "c"}));
  EXPECT_EQ(keys({}), (std::vector<std::string>{"z", "list", "a", "inner"}));
  EXPECT_EQ(keys({"list", "inner"}), std::vector<std::string>());
  EXPECT_EQ(keys({"a", "x"}), std::vector<std::string>());
  EXPECT_EQ(keys({"none"}), std::vector<std::string>());
  EXPECT_EQ(JsonKeyOrder("{\"a\":", {}, "test").error().code, Code::kCorrupt);
  EXPECT_EQ(JsonKeyOrder(std::string(200, '['), {}, "test").error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace nibble
