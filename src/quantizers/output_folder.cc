// SPDX-License-Identifier: Apache-2.0
#include "quantizers/output_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "io/atomic_file.h"
#include "io/mapped_file.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

bool IsWeightFile(const std::string& name) {
  static constexpr std::array<std::string_view, 10> kEndings = {
      ".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"};
  return std::any_of(kEndings.begin(), kEndings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
}

bool IsConfig(const std::string& name) {
  static constexpr std::array<std::string_view, 5> kNames = {"config.json", "quantize_config.json", "quant_config.json",
                                                             "hf_quant_config.json", "nibble_quantization.json"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Status CopyFile(const fs::path& from, const std::string& to) {
  std::error_code error;
  if (fs::file_size(from, error) == 0 && !error) return WriteFileAtomically(to, "");
  NIBBLE_TRY(const auto file, MappedFile::Open(from.string()));
  NIBBLE_TRY(AtomicFile out, AtomicFile::Create(to));
  NIBBLE_RETURN_IF_ERROR(out.Reserve(file->size_bytes()));
  NIBBLE_RETURN_IF_ERROR(out.Write(file->bytes()));
  return out.Commit();
}

// Whether `inner` is `outer` or lies below it.
bool Contains(const fs::path& outer, const fs::path& inner) {
  std::error_code error;
  const fs::path a = fs::weakly_canonical(outer, error), b = fs::weakly_canonical(inner, error);
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first == a.end();
}

Status CheckReplaceable(const std::string& path, bool force, const std::string& source) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return {};
  if (!source.empty() && Contains(path, source)) return Usage("{}: this folder holds the source; give another output folder", path);
  if (!force) return Usage("{}: exists already; give another name, or --force to replace it", path);
  if (!fs::is_directory(path, error)) return Usage("{}: exists and is no folder; --force replaces model folders only", path);
  if (!fs::is_empty(path, error) && !fs::exists(path + "/config.json", error))
    return Usage("{}: this folder has files but no config.json; --force replaces model folders only", path);
  return {};
}

std::string Trimmed(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// A name beside `path` that is free.
std::string Beside(const std::string& path, const char* what) {
  std::error_code error;
  for (int i = 0;; ++i) {
    std::string name = fmt::format("{}.{}-{}{}", path, what, getpid(), i ? fmt::format("-{}", i) : "");
    if (!fs::exists(fs::symlink_status(name, error))) return name;
  }
}

}  // namespace

Result<OutputFolder> OutputFolder::Create(const std::string& path, bool force, const std::string& source) {
  if (path.empty()) return Usage("the output folder has no name");
  OutputFolder folder;
  folder.path_ = Trimmed(path);
  NIBBLE_RETURN_IF_ERROR(CheckReplaceable(folder.path_, force, source));
  const std::string parent = fs::path(folder.path_).parent_path().string();
  std::error_code error;
  if (!parent.empty() && !fs::is_directory(parent, error))
    return Usage("{}: the folder {} does not exist; make it first", folder.path_, parent);
  const std::string temporary = Beside(folder.path_, "partial");
  if (mkdir(temporary.c_str(), 0777) != 0) return IoError(errno, fmt::format("{}: cannot make this folder", temporary));
  folder.temporary_ = temporary;
  return folder;
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)) {
  other.temporary_.clear();
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

Status OutputFolder::CopyFrom(const std::string& hub_folder) const {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(hub_folder, error)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && !name.starts_with(".") && !IsWeightFile(name) && !IsConfig(name)) files.push_back(entry.path());
  }
  if (error) return Fail(Code::kIo, "{}: cannot list this folder: {}", hub_folder, error.message());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) NIBBLE_RETURN_IF_ERROR(CopyFile(file, File(file.filename().string())));
  const std::string templates = hub_folder + "/additional_chat_templates";
  if (!fs::is_directory(templates, error)) return {};
  fs::create_directory(File("additional_chat_templates"), error);
  for (const auto& entry : fs::directory_iterator(templates, error))
    if (entry.is_regular_file())
      NIBBLE_RETURN_IF_ERROR(CopyFile(entry.path(), File("additional_chat_templates/" + entry.path().filename().string())));
  return {};
}

Status OutputFolder::Commit() {
  if (StopRequested()) return Fail(Code::kCancelled, "{}: stopped; nothing was written", path_);
  std::string old;
  std::error_code error;
  if (fs::exists(fs::symlink_status(path_, error))) {
    old = Beside(path_, "replaced");
    if (std::rename(path_.c_str(), old.c_str()) != 0)
      return IoError(errno, fmt::format("{}: cannot move the old folder away", path_));
  }
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int failed = errno;
    if (!old.empty()) std::rename(old.c_str(), path_.c_str());
    return IoError(failed, fmt::format("{}: cannot rename {} to it", path_, temporary_));
  }
  temporary_.clear();
  if (!old.empty()) fs::remove_all(old, error);
  return {};
}

int64_t BytesOnDisk(const std::string& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return static_cast<int64_t>(fs::file_size(path, error));
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path, error))
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

}  // namespace nibble
