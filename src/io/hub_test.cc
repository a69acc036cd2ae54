// SPDX-License-Identifier: Apache-2.0
#include "io/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "support/paths.h"

namespace nibble {
namespace {
using ::testing::HasSubstr;

class Hub : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const char* value = std::getenv(name);
      saved_.emplace_back(name, value ? std::optional<std::string>(value) : std::nullopt);
      unsetenv(name);
    }
    setenv("HF_HOME", dir_.path().c_str(), 1);
  }
  void TearDown() override {
    for (const auto& [name, value] : saved_) value ? setenv(name, value->c_str(), 1) : unsetenv(name);
  }
  std::string Touch(const std::string& name, const std::string& text = "x") {
    const std::string path = dir_.File(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }
  std::string Fails(const std::string& model, Code code) {
    const auto found = ResolveModel(model);
    if (found) return "found " + found->path;
    EXPECT_EQ(found.error().code, code) << found.error().ToString();
    return found.error().message;
  }
  testing::TempDir dir_;

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> saved_;
};

TEST_F(Hub, TakesFoldersAndFiles) {
  Touch("m/config.json");
  Touch("m/model.safetensors");
  Touch("m/extra.gguf");
  EXPECT_EQ(ResolveModel(dir_.File("m/"))->path, dir_.File("m"));
  EXPECT_EQ(ResolveModel(dir_.File("m"))->kind, ModelLocation::kHubFolder);
  EXPECT_EQ(ResolveModel(dir_.File("m/extra.gguf"))->kind, ModelLocation::kGguf);
  EXPECT_THAT(Fails(dir_.File("m/model.safetensors"), Code::kUsage), HasSubstr("give the folder"));
  EXPECT_THAT(Fails(dir_.File("m/config.json"), Code::kUsage), HasSubstr("neither"));
  EXPECT_THAT(Fails("", Code::kUsage), HasSubstr("no model given"));
  Touch("none/readme");
  EXPECT_THAT(Fails(dir_.File("none"), Code::kNotFound), HasSubstr("holds no model"));
}

TEST_F(Hub, TakesTheOneModelOfAGgufFolder) {
  Touch("g/a-00002-of-00002.gguf");
  Touch("g/a-00001-of-00002.gguf");
  Touch("g/config.json");
  Touch("g/mmproj-a.gguf");
  EXPECT_EQ(ResolveModel(dir_.File("g"))->path, dir_.File("g/a-00001-of-00002.gguf"));
  EXPECT_EQ(ResolveModel(dir_.File("g/a-00002-of-00002.gguf"))->path, dir_.File("g/a-00001-of-00002.gguf"));
  Touch("g/b.gguf");
  EXPECT_THAT(Fails(dir_.File("g"), Code::kUsage),
              HasSubstr("2 GGUF models in this folder; give one of them:\n  " + dir_.File("g/a-00001-of-00002.gguf")));
}

TEST_F(Hub, FindsSnapshotsByNameAndRevision) {
  const std::string repo = "hub/models--org--some.model-7B/";
  Touch(repo + "refs/main", "abc123\n");
  Touch(repo + "snapshots/abc123/config.json");
  Touch(repo + "refs/refs/pr/1", "def456");
  Touch(repo + "snapshots/def456/a.gguf");
  EXPECT_EQ(ResolveModel("org/some.model-7B")->path, dir_.File(repo + "snapshots/abc123"));
  EXPECT_EQ(ResolveModel("org/some.model-7B@refs/pr/1")->path, dir_.File(repo + "snapshots/def456/a.gguf"));
  EXPECT_EQ(ResolveModel("org/some.model-7B@def456")->kind, ModelLocation::kGguf);
  setenv("HF_HUB_CACHE", dir_.File("elsewhere").c_str(), 1);
  EXPECT_THAT(Fails("org/some.model-7B", Code::kNotFound), HasSubstr("download it: hf download org/some.model-7B"));
}

TEST_F(Hub, NamesTheDownloadCommandAndNeverLeavesTheCache) {
  EXPECT_THAT(Fails("org/name", Code::kNotFound), HasSubstr("hf download org/name"));
  EXPECT_THAT(Fails("org/name@v2", Code::kNotFound), HasSubstr("hf download org/name --revision v2"));
  for (const char* name : {"../x", "a/../../b", "/no/such", "a/b/c", "name", "a/b@../../x", "./a", "a/b.gguf"})
    EXPECT_THAT(Fails(name, Code::kNotFound), HasSubstr("no such file or folder, and not a hub name")) << name;
  Touch("hub/models--org--bad/refs/main", "../../../etc");
  EXPECT_THAT(Fails("org/bad", Code::kCorrupt), HasSubstr("name of a commit"));
}

}  // namespace
}  // namespace nibble
