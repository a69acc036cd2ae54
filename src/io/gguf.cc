// SPDX-License-Identifier: Apache-2.0
// GGUF files: from checked headers to a TensorIndex, and the shards of split models.
#include "io/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace nibble {
namespace {

// u8 [rows..., row bytes] over the blocks of a tensor.
TensorView BlocksView(const std::byte* data, const GgufTensorInfo& info) {
  Shape bytes = info.shape;
  int64_t& last = bytes[bytes.rank() - 1];
  last = last / info.type->block_elems * info.type->block_bytes + info.type->row_meta_bytes;
  return TensorView(data, DType::kU8, bytes);
}

StoredTensor MakeTensor(const GgufTensorInfo& info, const std::shared_ptr<const MappedFile>& file) {
  StoredTensor tensor;
  tensor.name = std::string(info.name);
  tensor.shape = info.shape;
  tensor.file = file->path();
  tensor.keep = file;
  tensor.file_offset = info.begin;
  tensor.size_bytes = info.end - info.begin;
  tensor.stored_type = info.type->name;
  tensor.ggml = FindGgmlFormat(info.type->id);
  const std::byte* data = file->bytes().data() + info.begin;
  if (info.type->dtype != DType::kNone) {
    tensor.view = TensorView(data, info.type->dtype, info.shape);
    return tensor;
  }
  tensor.view = BlocksView(data, info);
  if (!tensor.ggml)
    tensor.unsupported = fmt::format("type {} (number {}) cannot be decoded by this build", info.type->name, info.type->id);
  return tensor;
}

struct Shard {
  std::shared_ptr<const MappedFile> file;
  GgufHeader header;
};
Result<Shard> OpenShard(const std::string& path) {
  NIBBLE_TRY(auto file, MappedFile::Open(path));
  NIBBLE_TRY(GgufHeader header, ParseGgufHeader(file->bytes(), file->size_bytes(), path));
  return Shard{std::move(file), std::move(header)};
}

// All shards of the split model that `first_opened` (at `path`) belongs to, in order.
Result<std::vector<Shard>> OpenSiblings(const std::string& path, Shard first_opened, int64_t count) {
  const auto name = ParseGgufShardName(path);
  if (!name || name->count != count)
    return Corrupt("{}: is part of a model in {} files, wanted a name that ends in -0000i-of-{:05}.gguf; rename it", path, count,
                   count);
  std::vector<Shard> shards;
  for (int i = 1; i <= name->count; ++i) {
    if (i == name->number) {
      shards.push_back(std::move(first_opened));
    } else {
      const std::string sibling = name->Sibling(i);
      std::error_code ignored;
      if (!std::filesystem::exists(sibling, ignored))
        return NotFound(
            "{}: missing, file {} of {} of this model; download it (`hf download` fetches all of them) or copy it there", sibling,
            i, name->count);
      NIBBLE_TRY(Shard shard, OpenShard(sibling));
      shards.push_back(std::move(shard));
    }
    const std::string shard_path = shards.back().file->path();
    const GgufMetadata& metadata = shards.back().header.metadata;
    NIBBLE_TRY(const int64_t number, metadata.Int("split.no"));
    NIBBLE_TRY(const int64_t same_count, metadata.Int("split.count"));
    if (number != i - 1 || same_count != count)
      return Corrupt("{}: says that it is file {} of {}, its name says {} of {}", shard_path, number + 1, same_count, i, count);
  }
  return shards;
}

}  // namespace

std::string GgufShardName::Sibling(int other) const { return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, other, count); }

std::optional<GgufShardName> ParseGgufShardName(const std::string& path) {
  constexpr size_t kTail = sizeof("-00001-of-00002.gguf") - 1;
  if (path.size() <= kTail) return std::nullopt;
  const std::string_view tail = std::string_view(path).substr(path.size() - kTail);
  const auto number = [&](size_t at) {
    int value = 0;
    for (const char c : tail.substr(at, 5)) {
      if (c < '0' || c > '9') return -1;
      value = 10 * value + (c - '0');
    }
    return value;
  };
  GgufShardName name{path.substr(0, path.size() - kTail), number(1), number(10)};
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || name.number < 1 || name.number > name.count)
    return std::nullopt;
  return name;
}

Result<GgufFile> OpenGguf(const std::string& path) {
  NIBBLE_TRY(Shard opened, OpenShard(path));
  NIBBLE_TRY(const int64_t count, opened.header.metadata.Int("split.count", 0));
  std::vector<Shard> shards;
  if (count > 1) {
    NIBBLE_TRY(shards, OpenSiblings(path, std::move(opened), count));
  } else {
    shards.push_back(std::move(opened));
  }
  GgufFile out;
  std::vector<StoredTensor> tensors;
  for (const Shard& shard : shards) {
    for (const GgufTensorInfo& info : shard.header.tensors) tensors.push_back(MakeTensor(info, shard.file));
    out.files.push_back(shard.file);
  }
  if (count > 1) {
    const auto total = static_cast<int64_t>(tensors.size());
    NIBBLE_TRY(const int64_t wanted, shards[0].header.metadata.Int("split.tensors.count", total));
    if (wanted != total)
      return Corrupt("{}: the {} files hold {} tensors, \"split.tensors.count\" says {}", out.files[0]->path(), count, total,
                     wanted);
  }
  out.metadata = std::move(shards[0].header.metadata);
  NIBBLE_TRY(out.tensors, TensorIndex::Make(std::move(tensors)));
  return out;
}

}  // namespace nibble
