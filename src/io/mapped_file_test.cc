// SPDX-License-Identifier: Apache-2.0
#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "support/paths.h"

namespace nibble {
namespace {

TEST(MappedFile, GivesTheBytesAndReadsThemAgainAfterRelease) {
  testing::TempDir dir;
  std::string text(3 * 4096 + 5, 'x');
  text[4096] = 'y';
  std::ofstream(dir.File("a")) << text;
  const auto file = MappedFile::Open(dir.File("a"));
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ((*file)->size_bytes(), static_cast<int64_t>(text.size()));
  EXPECT_GT((*file)->mtime_ns(), 0);
  EXPECT_EQ((*file)->path(), dir.File("a"));
  for (const Range range : {Range{0, 1 << 30}, Range{-5, 10}, Range{5000, 5001}, Range{100, 50}, Range{4096, 8192}}) {
    (*file)->ReleasePages(range);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>((*file)->bytes().data()), text.size()), text);
  }
  (*file)->ReleasePages((*file)->bytes());
  (*file)->ReleasePages(std::as_bytes(std::span(text)));  // not ours: ignored
  EXPECT_EQ((*file)->bytes()[4096], std::byte{'y'});
}

TEST(MappedFile, SaysWhatIsWrong) {
  testing::TempDir dir;
  EXPECT_EQ(MappedFile::Open(dir.File("none")).error().code, Code::kNotFound);
  const auto folder = MappedFile::Open(dir.path());
  EXPECT_EQ(folder.error().ToString(), "io: " + dir.path() + ": is a folder, wanted a file");
  std::ofstream(dir.File("empty"));
  const auto empty = MappedFile::Open(dir.File("empty"));
  EXPECT_EQ(empty.error().code, Code::kCorrupt);
  EXPECT_NE(empty.error().message.find("empty"), std::string::npos);
  EXPECT_EQ(MappedFile::Open("/dev/null").error().code, Code::kIo);
  std::ofstream(dir.File("secret")) << "x";
  ASSERT_EQ(chmod(dir.File("secret").c_str(), 0), 0);
  if (geteuid() != 0) {
    EXPECT_EQ(MappedFile::Open(dir.File("secret")).error().code, Code::kIo);
  }
}

TEST(ReadTextFile, ReadsWholeFilesUpToTheLimit) {
  testing::TempDir dir;
  std::ofstream(dir.File("a")) << "hello\n";
  std::ofstream(dir.File("empty"));
  EXPECT_EQ(ReadTextFile(dir.File("a")).value(), "hello\n");
  EXPECT_EQ(ReadTextFile(dir.File("empty")).value(), "");
  EXPECT_EQ(ReadTextFile(dir.File("a"), 5).error().code, Code::kCorrupt);
  EXPECT_EQ(ReadTextFile(dir.path()).error().code, Code::kIo);
}

}  // namespace
}  // namespace nibble
