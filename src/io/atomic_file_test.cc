// SPDX-License-Identifier: Apache-2.0
#include "io/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "io/mapped_file.h"
#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

TEST(AtomicFile, AppearsWholeAtCommitAndKeepsOldMaps) {
  testing::TempDir dir;
  ASSERT_TRUE(WriteFileAtomically(dir.File("a"), "old"));
  const auto old = MappedFile::Open(dir.File("a")).value();
  auto file = AtomicFile::Create(dir.File("a"));
  ASSERT_TRUE(file) << file.error().ToString();
  ASSERT_TRUE(file->Write("ne"));
  ASSERT_TRUE(file->WriteAt(5, std::as_bytes(std::span("!", 1))));
  ASSERT_TRUE(file->Write("w"));
  EXPECT_EQ(file->position(), 3);
  ASSERT_TRUE(file->PadTo(4));
  AtomicFile moved = *std::move(file);
  EXPECT_EQ(ReadTextFile(dir.File("a")).value(), "old");
  ASSERT_TRUE(moved.Commit());
  EXPECT_EQ(ReadTextFile(dir.File("a")).value(), std::string("new\0\0!", 6));
  EXPECT_EQ(old->bytes()[0], std::byte{'o'});
  EXPECT_FALSE(moved.Commit());
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  testing::TempDir dir;
  {
    auto file = AtomicFile::Create(dir.File("a")).value();
    ASSERT_TRUE(file.Write("text"));
    EXPECT_FALSE(std::filesystem::is_empty(dir.path()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(AtomicFile, SaysWhereItCannotWrite) {
  testing::TempDir dir;
  EXPECT_EQ(AtomicFile::Create(dir.path()).error().code, Code::kUsage);
  const auto missing = AtomicFile::Create(dir.File("no/a"));
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr(dir.File("no")));
}

// A file size limit stands for a full disk: the same code path with EFBIG for ENOSPC.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(AtomicFile, ReportsAFullDiskWithFileAndBytes) {
  testing::TempDir dir;
  {
    auto file = AtomicFile::Create(dir.File("a")).value();
    const SizeLimit limit(1000);
    const auto reserved = file.Reserve(5000);
    ASSERT_FALSE(reserved);
    EXPECT_EQ(reserved.error().code, Code::kResourceExhausted);
    EXPECT_THAT(reserved.error().message, HasSubstr(dir.File("a") + ": cannot write 5000 bytes"));
    const std::string text(3000, 'x');
    const auto written = file.Write(text);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Code::kResourceExhausted);
    EXPECT_THAT(written.error().message, HasSubstr("cannot write 2000 bytes"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace nibble
