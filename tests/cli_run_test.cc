// SPDX-License-Identifier: Apache-2.0
// nibble run as a newcomer finds it: what it takes from the folder, and what it says of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "io/json.h"
#include "support/paths.h"
#include "support/program.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using testing::ProgramResult;
using testing::RunProgram;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kTemplate =
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if tools %}[{{ tools[0].function.name }}]{% endif %}{% if enable_thinking is defined %}({{ enable_thinking }}){% endif %}"
    "{{ mood }}";

class Run : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(testing::Repo("models/tales-5m"), Folder(), fs::copy_options::recursive);
    fs::permissions(Folder(), fs::perms::owner_all, fs::perm_options::add);
  }
  std::string Folder() const { return dir_.File("model"); }
  void Write(const std::string& name, const std::string& text) {
    fs::remove(Folder() + "/" + name);
    std::ofstream(Folder() + "/" + name) << text;
  }
  void Edit(const std::string& name, const std::function<void(Json&)>& edit) {
    auto json = ReadJsonFile(Folder() + "/" + name);
    ASSERT_TRUE(json);
    edit(*json);
    Write(name, json->dump());
  }
  ProgramResult Nibble(const std::string& arguments) {
    return RunProgram(fmt::format("run '{}' --threads 1 --max-tokens 3 {}", Folder(), arguments));
  }
  // The prompt that reaches the model has as many tokens as the template's text has.
  int PromptTokens(const std::string& arguments) {
    const std::string out = Nibble(arguments + " --json").output;
    const size_t begin = out.find('{');
    const auto json = ParseJson(out.substr(begin, out.find('\n', begin) - begin), "output");
    return json ? (*json)["prompt_tokens"].get<int>() : -1;
  }
  testing::TempDir dir_;
};

TEST_F(Run, ChatsWithTheModelsOwnTemplateAndSaysSo) {
  Write("chat_template.jinja", kTemplate);
  Edit("generation_config.json", [](Json& json) {
    json["eos_token_id"] = {7, 9};
    json["temperature"] = 0.25;
    json["top_k"] = 3;
  });
  const auto out = Nibble("-p Hello");
  EXPECT_EQ(out.exit_code, 0);
  EXPECT_THAT(out.output, AllOf(HasSubstr("chat: chat_template.jinja of"), HasSubstr(" 7"), HasSubstr(" 9"),
                                HasSubstr("<|end_of_text|> 1"), HasSubstr("generation_config.json, tokenizer"),
                                HasSubstr("temperature 0.25, top-k 3 (generation_config.json)")));
  EXPECT_THAT(Nibble("-p Hello --temperature 0").output, HasSubstr("always the best token (flags, then generation_config.json)"));
}

TEST_F(Run, OnlyTemplatesThatTellRolesApartMakeAChat) {
  EXPECT_THAT(Nibble("-p Hello").output, AllOf(HasSubstr("completion of text"), HasSubstr("tells no roles apart")));
  fs::remove(Folder() + "/chat_template.jinja");
  EXPECT_THAT(Nibble("-p Hello").output, AllOf(HasSubstr("completion of text"), HasSubstr("no chat template")));
  const auto asked = Nibble("-p Hello --chat");
  EXPECT_EQ(asked.exit_code, 3);
  EXPECT_THAT(asked.output, HasSubstr("no chat template"));
}

TEST_F(Run, WhatTheUserTellsTheTemplateReachesIt) {
  Write("chat_template.jinja", kTemplate);
  const std::string tools = dir_.File("tools.json");
  std::ofstream(tools) << R"([{"type":"function","function":{"name":"get_the_weather_of_a_city"}}])";
  const int plain = PromptTokens("-p Hello");
  EXPECT_GT(plain, 3);
  EXPECT_GT(PromptTokens("-p Hello --no-think"), plain);
  EXPECT_GT(PromptTokens("-p Hello --template-arg mood=sad"), plain);
  EXPECT_GT(PromptTokens("-p Hello --tools " + tools), plain + 5);
  EXPECT_GT(PromptTokens("-p Hello --system 'Be brief'"), plain);
  EXPECT_LT(PromptTokens("-p Hello --no-chat"), plain);
  EXPECT_EQ(Nibble("-p Hello --template-arg mood").exit_code, 2);
  EXPECT_EQ(Nibble("-p Hello --tools " + Folder() + "/config.json").exit_code, 3);
}

TEST_F(Run, NamedTemplatesAreChosenByNameAndForTools) {
  fs::remove(Folder() + "/chat_template.jinja");
  Edit("tokenizer_config.json", [](Json& json) {
    json["chat_template"] = {{{"name", "default"}, {"template", kTemplate}},
                             {{"name", "tool_use"}, {"template", "{{ tools }}role"}}};
  });
  const std::string tools = dir_.File("tools.json");
  std::ofstream(tools) << "[1]";
  EXPECT_THAT(Nibble("-p Hello").output, HasSubstr("chat: tokenizer_config.json of"));
  EXPECT_THAT(Nibble("-p Hello --tools " + tools).output, HasSubstr("chat: template \"tool_use\""));
  const auto none = Nibble("-p Hello --chat-template rag");
  EXPECT_EQ(none.exit_code, 3);
  EXPECT_THAT(none.output, HasSubstr("default, tool_use"));
}

TEST_F(Run, ATokenizerLargerThanTheEmbeddingIsSaid) {
  Edit("tokenizer.json", [](Json& json) {
    json["added_tokens"].push_back({{"id", 4096}, {"content", "<far>"}, {"special", true}});
  });
  const auto fine = Nibble("-p Hello");
  EXPECT_EQ(fine.exit_code, 0);
  EXPECT_THAT(fine.output, AllOf(HasSubstr("4097 tokens"), HasSubstr("4096")));
  const auto out = Nibble("-p 'Hello <far>'");
  EXPECT_EQ(out.exit_code, 3);
  EXPECT_THAT(out.output, HasSubstr("token id 4096"));
}

TEST_F(Run, AFolderWithoutTokenizerNamesTheFilesWanted) {
  fs::remove(Folder() + "/tokenizer.json");
  const auto out = Nibble("-p Hello");
  EXPECT_EQ(out.exit_code, 3);
  EXPECT_THAT(out.output, AllOf(HasSubstr("tokenizer.json"), HasSubstr("tokenizer.model"), HasSubstr(Folder())));
}

}  // namespace
}  // namespace nibble
