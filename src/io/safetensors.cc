// SPDX-License-Identifier: Apache-2.0
// Files and folders of safetensors (or, without any, of PyTorch files): which files belong together, and the index over them.
#include "io/safetensors.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "io/json.h"
#include "io/torch_file.h"

namespace nibble {
namespace {
namespace fs = std::filesystem;

// Appends the tensors of one file.
Status AddFile(const std::string& path, SafetensorsFiles& out, std::vector<StoredTensor>& tensors) {
  NIBBLE_TRY(const auto file, MappedFile::Open(path));
  NIBBLE_TRY(SafetensorsHeader header, ParseSafetensorsHeader(file->bytes(), file->size_bytes(), path));
  out.metadata.merge(header.metadata);
  tensors.reserve(tensors.size() + header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    StoredTensor& tensor = tensors.emplace_back();
    tensor.name = std::move(entry.name);
    tensor.view = TensorView(file->bytes().data() + entry.begin, entry.dtype, entry.shape);
    tensor.shape = entry.shape;
    tensor.file = path;
    tensor.keep = file;
    tensor.file_offset = entry.begin;
    tensor.size_bytes = entry.end - entry.begin;
    tensor.stored_type = std::move(entry.stored_type);
    if (tensor.stored_type.ends_with("FNUZ"))
      tensor.unsupported = "dtype " + tensor.stored_type + ", AMD's form of fp8, is not readable; save the model with " +
                           (tensor.stored_type.find("E5M2") == std::string::npos ? "float8_e4m3fn" : "float8_e5m2");
  }
  out.files.push_back(file);
  return {};
}

// The same of a PyTorch file.
Status AddTorchFile(const std::string& path, SafetensorsFiles& out, std::vector<StoredTensor>& tensors) {
  NIBBLE_TRY(const auto file, MappedFile::Open(path));
  NIBBLE_TRY(TorchFile contents, ParseTorchFile(file->bytes(), path));
  out.metadata.merge(contents.metadata);
  for (TorchFile::Entry& entry : contents.entries) {
    StoredTensor& tensor = tensors.emplace_back();
    tensor.name = std::move(entry.name);
    tensor.view = entry.view;
    tensor.shape = entry.view.shape;
    tensor.file = path;
    tensor.keep = file;
    tensor.file_offset = entry.view.data - file->bytes().data();
    tensor.size_bytes = entry.view.size_bytes();
    tensor.stored_type = DTypeName(entry.view.dtype);
    if (!entry.view.contiguous()) tensor.unsupported = "its elements are strided; save it in PyTorch as tensor.contiguous()";
  }
  out.files.push_back(file);
  return {};
}

bool IsTorchFile(std::string_view name) { return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"); }

Result<SafetensorsFiles> OpenAll(const std::vector<std::string>& paths) {
  SafetensorsFiles out;
  std::vector<StoredTensor> tensors;
  for (const std::string& path : paths)
    NIBBLE_RETURN_IF_ERROR(IsTorchFile(path) ? AddTorchFile(path, out, tensors) : AddFile(path, out, tensors));
  NIBBLE_TRY(out.tensors, TensorIndex::Make(std::move(tensors)));
  return out;
}

// The index's map, tensor name -> file name; names with a path in them are refused.
Result<std::vector<std::pair<std::string, std::string>>> ReadWeightMap(const std::string& index_path) {
  NIBBLE_TRY(const Json index, ReadJsonFile(index_path, int64_t{256} << 20));
  const Json* map = JsonFind(index, "weight_map");
  if (!map || !map->is_object() || map->empty())
    return Corrupt("{}: \"weight_map\" is missing, empty or not an object", index_path);
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(map->size());
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string()) return Corrupt("{}: weight_map of \"{}\" is not a file name", index_path, name);
    const auto& shard = file.get_ref<const std::string&>();
    if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos ||
        shard.find('\0') != std::string::npos)
      return Corrupt("{}: weight_map of \"{}\": \"{}\" is not a plain file name", index_path, name, shard);
    pairs.emplace_back(name, shard);
  }
  return pairs;
}

Result<SafetensorsFiles> OpenIndexed(const std::string& folder, const std::string& index_path) {
  NIBBLE_TRY(const auto pairs, ReadWeightMap(index_path));
  std::set<std::string> shards;
  for (const auto& [name, shard] : pairs) shards.insert(shard);
  std::vector<std::string> paths, missing;
  for (const std::string& shard : shards) {
    paths.push_back(folder + "/" + shard);
    if (!fs::exists(paths.back())) missing.push_back(shard);
  }
  if (!missing.empty())
    return NotFound(
        "{}: {} of the {} shards named in {} are missing, first {}; the download is not complete: run `hf download` for this "
        "model again, or copy the file there",
        folder, missing.size(), shards.size(), fs::path(index_path).filename().string(), missing.front());
  NIBBLE_TRY(SafetensorsFiles out, OpenAll(paths));
  for (const auto& [name, shard] : pairs) {
    if (out.metadata.count(name)) continue;  // a tensor subclass: several tensors
    const StoredTensor* tensor = out.tensors.Find(name);
    if (tensor && tensor->file == folder + "/" + shard) continue;
    return Corrupt("{}: tensor \"{}\" should be in {}, but {}", index_path, name, shard,
                   tensor ? "is in " + fs::path(tensor->file).filename().string() : std::string("no shard has it"));
  }
  return out;
}

// What trainers leave beside a model.
bool IsNoModel(std::string_view name) {
  for (const std::string_view other : {"training_args", "optimizer", "scheduler", "rng_state"})
    if (name.starts_with(other)) return true;
  return false;
}

// pytorch_model.bin; or pytorch_model.bin.index.json and its shards; or else the only such file.
Result<SafetensorsFiles> OpenTorchFolder(const std::string& folder, std::vector<std::string> files) {
  std::error_code error;
  if (fs::exists(folder + "/pytorch_model.bin", error)) return OpenAll({folder + "/pytorch_model.bin"});
  if (fs::exists(folder + "/pytorch_model.bin.index.json", error))
    return OpenIndexed(folder, folder + "/pytorch_model.bin.index.json");
  if (files.size() == 1) return OpenAll({folder + "/" + files[0]});
  std::sort(files.begin(), files.end());
  return Usage(
      "{}: {} PyTorch files ({}, ...) and no pytorch_model.bin.index.json that says which belong together; give one file or add "
      "the index",
      folder, files.size(), files[0]);
}

}  // namespace

Result<SafetensorsFiles> OpenSafetensors(const std::string& path) { return OpenAll({path}); }

Result<SafetensorsFiles> OpenSafetensorsFolder(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return NotFound("{}: no such folder", folder);
  if (fs::exists(folder + "/model.safetensors", error)) return OpenSafetensors(folder + "/model.safetensors");
  std::vector<std::string> files, indices, pickles;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".safetensors") && name[0] != '.') files.push_back(name);
    if (name.ends_with(".safetensors.index.json")) indices.push_back(name);
    if (IsTorchFile(name) && name[0] != '.' && !IsNoModel(name)) pickles.push_back(name);
  }
  if (error) return Fail(Code::kIo, "{}: {}", folder, error.message());
  std::sort(files.begin(), files.end());
  if (std::find(indices.begin(), indices.end(), "model.safetensors.index.json") != indices.end())
    return OpenIndexed(folder, folder + "/model.safetensors.index.json");
  if (indices.size() == 1) return OpenIndexed(folder, folder + "/" + indices[0]);
  if (files.size() == 1) return OpenSafetensors(folder + "/" + files[0]);
  if (files.empty() && !pickles.empty()) return OpenTorchFolder(folder, pickles);
  if (files.empty()) return NotFound("{}: no *.safetensors in this folder", folder);
  return Usage(
      "{}: {} *.safetensors files ({}, ...) and no model.safetensors.index.json that says which belong together; give one file or "
      "add the index",
      folder, files.size(), files[0]);
}

}  // namespace nibble
