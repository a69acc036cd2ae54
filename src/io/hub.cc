// SPDX-License-Identifier: Apache-2.0
#include "io/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include "io/gguf.h"
#include "io/mapped_file.h"

namespace nibble {
namespace {
namespace fs = std::filesystem;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}
bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Models of a folder that holds GGUF only: one entry a model, the first shard for a split one.
Result<ModelLocation> ResolveGgufFolder(const std::string& folder, const std::vector<std::string>& names) {
  std::vector<std::string> models;
  for (const std::string& name : names) {
    const auto shard = ParseGgufShardName(name);
    const std::string first = shard ? shard->Sibling(1) : name;
    if (std::find(models.begin(), models.end(), first) == models.end()) models.push_back(first);
  }
  std::sort(models.begin(), models.end());
  // A projector of a vision model is no model of its own.
  if (models.size() > 1) std::erase_if(models, [](const std::string& name) { return name.starts_with("mmproj"); });
  if (models.size() != 1)
    return Usage("{}: {} GGUF models in this folder; give one of them:\n  {}/{}", folder, models.size(), folder,
                 fmt::join(models, "\n  " + folder + "/"));
  return ModelLocation{ModelLocation::kGguf, folder + "/" + models[0]};
}

Result<ModelLocation> ResolveFolder(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  std::vector<std::string> gguf;
  bool hub = false;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    hub |= name == "config.json" || name == "params.json" || name.ends_with(".safetensors");
    if (name.ends_with(".gguf") && name[0] != '.') gguf.push_back(name);
  }
  if (error) return Fail(Code::kIo, "{}: {}", folder, error.message());
  // A folder may have config.json beside GGUF files and no weights of its own: then the GGUF is meant.
  const auto has_weights = [&] {
    for (const auto& entry : fs::directory_iterator(folder, error))
      if (entry.path().extension() == ".safetensors" || entry.path().filename() == "model.safetensors.index.json") return true;
    return false;
  };
  if (!gguf.empty() && (!hub || !has_weights())) return ResolveGgufFolder(folder, gguf);
  if (hub) return ModelLocation{ModelLocation::kHubFolder, folder};
  return NotFound("{}: this folder holds no model (no config.json, *.safetensors or *.gguf)", folder);
}

struct RepoName {
  std::string organization, name, revision;
};
// "org/name", each of letters, digits, '-', '_', '.'; no ".." and nothing that could leave the cache folder.
std::optional<RepoName> ParseRepoName(const std::string& text) {
  const size_t slash = text.find('/'), at = text.find('@');
  if (slash == std::string::npos || slash == 0 || (at != std::string::npos && at < slash)) return std::nullopt;
  RepoName repo{text.substr(0, slash), text.substr(slash + 1, at == std::string::npos ? at : at - slash - 1),
                at == std::string::npos ? "main" : text.substr(at + 1)};
  const auto plain = [](const std::string& part, const char* extra) {
    return !part.empty() && part.find("..") == std::string::npos && part[0] != '.' && part[0] != '/' &&
           std::all_of(part.begin(), part.end(), [&](char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    std::string_view(extra).find(c) != std::string_view::npos;
           });
  };
  if (!plain(repo.organization, "-_.") || !plain(repo.name, "-_.") || !plain(repo.revision, "-_./")) return std::nullopt;
  return repo;
}

Result<ModelLocation> ResolveCached(const RepoName& repo, const std::string& typed) {
  const std::string cache = HubCacheFolder();
  const std::string folder = fmt::format("{}/models--{}--{}", cache, repo.organization, repo.name);
  const std::string wanted = repo.organization + "/" + repo.name + (repo.revision == "main" ? "" : " --revision " + repo.revision);
  std::string commit = repo.revision;  // may be a commit itself
  if (Exists(folder + "/refs/" + repo.revision)) {
    NIBBLE_TRY(commit, ReadTextFile(folder + "/refs/" + repo.revision, 4096));
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
    if (commit.empty() ||
        commit.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != std::string::npos)
      return Corrupt("{}/refs/{}: does not hold the name of a commit", folder, repo.revision);
  }
  const std::string snapshot = folder + "/snapshots/" + commit;
  if (!IsFolder(snapshot))
    return NotFound("{}: no such file or folder, and not in the hub cache {}; download it: hf download {}", typed, cache, wanted);
  auto found = ResolveFolder(snapshot);
  if (!found)
    return tl::unexpected<Error>(
        std::move(found).error().In(fmt::format("{} is in the hub cache, but not whole (hf download {})", typed, wanted)));
  return found;
}

}  // namespace

std::string HubCacheFolder() {
  if (const std::string cache = Env("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = Env("HF_HOME"); !home.empty()) return home + "/hub";
  const std::string xdg = Env("XDG_CACHE_HOME");
  return (xdg.empty() ? Env("HOME") + "/.cache" : xdg) + "/huggingface/hub";
}

Result<ModelLocation> ResolveModel(const std::string& model) {
  if (model.empty()) return Usage("no model given; wanted a folder, a .gguf file or the name org/name of a downloaded model");
  if (IsFolder(model)) return ResolveFolder(model);
  if (Exists(model)) {
    if (model.ends_with(".safetensors"))
      return Usage("{}: a model is a folder (config.json, tokenizer and weights); give the folder that holds this file", model);
    const auto shard = ParseGgufShardName(model);
    if (model.ends_with(".gguf")) return ModelLocation{ModelLocation::kGguf, shard ? shard->Sibling(1) : model};
    return Usage("{}: neither a folder nor a .gguf file", model);
  }
  if (const auto repo = ParseRepoName(model); repo && !model.ends_with(".gguf")) return ResolveCached(*repo, model);
  return NotFound("{}: no such file or folder, and not a hub name (org/name)", model);
}

}  // namespace nibble
