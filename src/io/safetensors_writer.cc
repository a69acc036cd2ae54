// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "base/math.h"
#include "io/atomic_file.h"
#include "io/json.h"

namespace nibble {

struct SafetensorsWriter::State {
  struct Tensor {
    std::string name;
    size_t shard = 0;
    int64_t offset = 0, size_bytes = 0, written = 0;  // offset in the file
  };
  std::vector<Tensor> tensors;
  std::unordered_map<std::string_view, size_t> by_name;  // keys point into tensors, which is complete before this is filled
  std::vector<AtomicFile> files;
  std::string index_path;  // empty: one file
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

std::string_view SafetensorsTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF64: return "F64";
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
    case DType::kE4M3: return "F8_E4M3";
    case DType::kE5M2: return "F8_E5M2";
    case DType::kE8M0: return "F8_E8M0";
    case DType::kI8: return "I8";
    case DType::kU8: return "U8";
    case DType::kI16: return "I16";
    case DType::kU16: return "U16";
    case DType::kI32: return "I32";
    case DType::kU32: return "U32";
    case DType::kI64: return "I64";
    case DType::kU64: return "U64";
    case DType::kBool: return "BOOL";
    case DType::kNone:
    case DType::kE3M2:
    case DType::kE2M3:
    case DType::kE2M1: return "";
  }
  return "";
}

namespace {

Result<int64_t> SafetensorsBytesOf(const SafetensorsDeclaration& tensor) {
  if (SafetensorsTypeName(tensor.dtype).empty())
    return Usage("tensor \"{}\": {} cannot be stored in safetensors; pack it into u8", tensor.name, DTypeName(tensor.dtype));
  if (tensor.name.empty() || tensor.name == "__metadata__") return Usage("\"{}\" cannot be the name of a tensor", tensor.name);
  int64_t bytes = DTypeBytes(tensor.dtype);
  for (int i = 0; i < tensor.shape.rank(); ++i) {
    const auto product = tensor.shape[i] < 0 ? std::nullopt : CheckedMul(bytes, tensor.shape[i]);
    if (!product) return Usage("tensor \"{}\": shape {} is not possible", tensor.name, tensor.shape.ToString());
    bytes = *product;
  }
  return bytes;
}

// The header text of one file, padded with spaces so that the data begins at a multiple of 8.
Result<std::string> HeaderText(const std::vector<SafetensorsDeclaration>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump();
    int64_t position = 0;
    for (const SafetensorsDeclaration& tensor : tensors) {  // by hand: OrderedJson looks keys up linearly
      NIBBLE_TRY(const int64_t bytes, SafetensorsBytesOf(tensor));
      text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "",
                          Json(tensor.name).dump(), SafetensorsTypeName(tensor.dtype), tensor.shape.ToString(), position,
                          position + bytes);
      position += bytes;
    }
  } catch (const std::exception& e) {  // a name or value that is not UTF-8
    return Usage("header: {}", e.what());
  }
  text += "}";
  text.resize(static_cast<size_t>(RoundUp(static_cast<int64_t>(text.size()), 8)), ' ');
  return text;
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::Create(std::vector<std::string> paths,
                                                    std::vector<std::vector<SafetensorsDeclaration>> shards,
                                                    const SafetensorsWriterOptions& options) {
  auto state = std::make_unique<State>();
  for (size_t s = 0; s < shards.size(); ++s) {
    std::sort(shards[s].begin(), shards[s].end(), [](const auto& a, const auto& b) {
      const int size_a = DTypeBytes(a.dtype), size_b = DTypeBytes(b.dtype);
      return size_a != size_b ? size_a > size_b : a.name < b.name;
    });
    NIBBLE_TRY_IN(paths[s], const std::string header, HeaderText(shards[s], options.metadata));
    NIBBLE_TRY(AtomicFile file, AtomicFile::Create(paths[s]));
    int64_t position = 8 + static_cast<int64_t>(header.size());
    for (const SafetensorsDeclaration& tensor : shards[s]) {
      const int64_t bytes = SafetensorsBytesOf(tensor).value();
      const auto end = CheckedAdd(position, bytes);
      if (!end) return Usage("{}: the tensors have more than 2^63 bytes", paths[s]);
      state->tensors.push_back({tensor.name, s, position, bytes, 0});
      position = *end;
    }
    NIBBLE_RETURN_IF_ERROR(file.Reserve(position));
    const uint64_t length = header.size();
    NIBBLE_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(&length, 1))));
    NIBBLE_RETURN_IF_ERROR(file.Write(header));
    state->files.push_back(std::move(file));
  }
  for (size_t i = 0; i < state->tensors.size(); ++i)
    if (!state->by_name.emplace(state->tensors[i].name, i).second)
      return Usage("tensor \"{}\" is declared twice", state->tensors[i].name);
  return SafetensorsWriter(std::move(state));
}

Result<SafetensorsWriter> SafetensorsWriter::CreateFile(const std::string& path, std::vector<SafetensorsDeclaration> tensors,
                                                        const SafetensorsWriterOptions& options) {
  return Create({path}, {std::move(tensors)}, options);
}

Result<SafetensorsWriter> SafetensorsWriter::CreateFolder(const std::string& folder, std::vector<SafetensorsDeclaration> tensors,
                                                          const SafetensorsWriterOptions& options) {
  std::vector<std::vector<SafetensorsDeclaration>> shards(1);
  int64_t filled = 0;
  for (SafetensorsDeclaration& tensor : tensors) {
    NIBBLE_TRY(const int64_t bytes, SafetensorsBytesOf(tensor));
    if (options.max_shard_bytes > 0 && !shards.back().empty() && bytes > options.max_shard_bytes - filled) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(std::move(tensor));
  }
  std::vector<std::string> paths = {folder + "/model.safetensors"};
  if (shards.size() > 1) {
    paths.clear();
    for (size_t s = 0; s < shards.size(); ++s)
      paths.push_back(fmt::format("{}/model-{:05}-of-{:05}.safetensors", folder, s + 1, shards.size()));
  }
  NIBBLE_TRY(SafetensorsWriter writer, Create(std::move(paths), std::move(shards), options));
  if (writer.state_->files.size() > 1) writer.state_->index_path = folder + "/model.safetensors.index.json";
  return writer;
}

Status SafetensorsWriter::Write(std::string_view name, std::span<const std::byte> bytes) {
  const auto found = state_->by_name.find(name);
  if (found == state_->by_name.end()) return Usage("tensor \"{}\" was not declared to the safetensors writer", name);
  State::Tensor& tensor = state_->tensors[found->second];
  AtomicFile& file = state_->files[tensor.shard];
  const auto size = static_cast<int64_t>(bytes.size());
  if (size > tensor.size_bytes - tensor.written)
    return Usage("{}: tensor \"{}\" has {} bytes, {} were given", file.path(), name, tensor.size_bytes, tensor.written + size);
  NIBBLE_RETURN_IF_ERROR(file.WriteAt(tensor.offset + tensor.written, bytes));
  tensor.written += size;
  return {};
}

Status SafetensorsWriter::Commit() {
  int64_t total = 0;
  for (const State::Tensor& tensor : state_->tensors) {
    if (tensor.written != tensor.size_bytes)
      return Usage("{}: tensor \"{}\" got {} of its {} bytes", state_->files[tensor.shard].path(), tensor.name, tensor.written,
                   tensor.size_bytes);
    total += tensor.size_bytes;
  }
  for (AtomicFile& file : state_->files) NIBBLE_RETURN_IF_ERROR(file.Commit());
  if (state_->index_path.empty()) return {};
  Json map = Json::object();
  for (const State::Tensor& tensor : state_->tensors)
    map[tensor.name] = std::filesystem::path(state_->files[tensor.shard].path()).filename().string();
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}};
  return WriteFileAtomically(state_->index_path, index.dump(2) + "\n");
}

std::vector<std::string> SafetensorsWriter::paths() const {
  std::vector<std::string> paths;
  for (const AtomicFile& file : state_->files) paths.push_back(file.path());
  return paths;
}

}  // namespace nibble
