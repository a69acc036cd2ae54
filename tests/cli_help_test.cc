// SPDX-License-Identifier: Apache-2.0
// The help texts and docs/methods.md: golden; help is short enough for a screen. NIBBLE_UPDATE_GOLDENS=1 rewrites the goldens.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "cli/command.h"
#include "support/paths.h"

namespace nibble {
namespace {

constexpr long kScreenLines = 50;

std::string Output(const std::string& arguments) {
  std::string text;
  FILE* pipe = popen((std::string(NIBBLE_PROGRAM) + " " + arguments + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) text.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0) << arguments;
  return text;
}

void CheckGolden(const std::string& file, const std::string& text) {
  const std::string path = testing::Repo(file);
  if (std::getenv("NIBBLE_UPDATE_GOLDENS")) {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream in(path);
  ASSERT_TRUE(in) << path << " is missing; run with NIBBLE_UPDATE_GOLDENS=1 and read what changed";
  EXPECT_EQ(text, std::string(std::istreambuf_iterator<char>(in), {})) << "NIBBLE_UPDATE_GOLDENS=1 rewrites " << path;
}

TEST(Docs, TheMethodsPageIsWhatTheRegistrySays) { CheckGolden("docs/methods.md", Output("methods --markdown")); }

TEST(Help, TheProgramListsEveryCommand) {
  const std::string text = Output("--help");
  for (const Command* command : CommandTable())
    EXPECT_NE(text.find(std::string(command->summary)), std::string::npos) << command->name;
  CheckGolden("tests/data/help/nibble.txt", text);
}

TEST(Help, EveryCommandFitsAScreenAndHasAnExample) {
  for (const Command* command : CommandTable()) {
    const std::string text = Output(std::string(command->name) + " --help");
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), kScreenLines) << command->name;
    EXPECT_NE(text.find("example: "), std::string::npos) << command->name;
    CheckGolden("tests/data/help/" + std::string(command->name) + ".txt", text);
  }
}

}  // namespace
}  // namespace nibble
