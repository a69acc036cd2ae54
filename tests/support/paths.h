// SPDX-License-Identifier: Apache-2.0
// Where tests find their data. Data in the repository is always there; the large shared data may not be, then a test skips and says
// so.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace nibble::testing {

// A file or folder of the repository.
inline std::string Repo(const std::string& path) { return std::string(NIBBLE_SOURCE_DIR) + "/" + path; }

// A file or folder of the shared data: $NIBBLE_SHARED_DIR, or shared/ beside the repository. Empty if it is not there.
inline std::string Shared(const std::string& path) {
  const char* dir = std::getenv("NIBBLE_SHARED_DIR");
  const std::string full = (dir ? std::string(dir) : std::string(NIBBLE_SOURCE_DIR) + "/../shared") + "/" + path;
  return std::filesystem::exists(full) ? full : "";
}

// A fresh folder that is removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nibble-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace nibble::testing

// Skips the test, visibly, when shared data is missing.
#define NIBBLE_NEED_SHARED(variable, path)                      \
  const std::string variable = ::nibble::testing::Shared(path); \
  if (variable.empty()) GTEST_SKIP() << "needs the shared data: " << (path)
