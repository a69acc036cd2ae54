// SPDX-License-Identifier: Apache-2.0
// GGUF, versions 2 and 3, little-endian, one file or split.
//
//   "GGUF" u32 version  u64 tensors  u64 keys
//   keys     x { str key;  u32 type;  value }              str = u64 length, bytes;  array = u32 type, u64 count, elements
//   tensors  x { str name; u32 rank;  u64 ne[rank];  u32 type;  u64 offset }        ne[0] is the innermost dimension
//   padding to the alignment, then the tensors in this order, each padded to the alignment
//
// A file is checked wholly when it is opened: counts against the bytes left before anything is allocated, names unique, every
// tensor where the sizes before it put it and inside the file. Afterwards views cannot leave the map. The writer is gguf_writer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "io/tensor_index.h"

namespace nibble {

enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
// "u32", "string", ...
const char* GgufTypeName(GgufType type);
// Bytes of a number or bool; 0 for strings and arrays.
int GgufTypeBytes(GgufType type);

// Elements stay where the file has them, unaligned; strings are listed once.
struct GgufArray {
  GgufType type = GgufType::kU8;  // of the elements, never kArray
  int64_t count = 0;
  std::span<const std::byte> bytes;       // numbers and bools
  std::vector<std::string_view> strings;  // strings
};

// Every integer type becomes u64 or i64, both floats double; `type` keeps the exact one.
struct GgufValue {
  GgufType type = GgufType::kU8;
  std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray> value;
};

// The key-value part. Views into the file's bytes: lives no longer than they.
class GgufMetadata {
 public:
  struct Entry {
    std::string_view key;
    GgufValue value;
  };
  GgufMetadata() = default;
  // Corrupt on an empty or repeated key. `where` begins every message of the getters.
  static Result<GgufMetadata> Make(std::vector<Entry> entries, std::string where);

  std::span<const Entry> entries() const { return entries_; }  // file order
  const GgufValue* Find(std::string_view key) const;           // null if absent

  // Absent: the fallback, or NotFound without one. A wrong type is Corrupt and names key, found and wanted.
  Result<int64_t> Int(std::string_view key, std::optional<int64_t> fallback = std::nullopt) const;  // any integer type
  Result<double> Number(std::string_view key, std::optional<double> fallback = std::nullopt) const;
  Result<bool> Bool(std::string_view key, std::optional<bool> fallback = std::nullopt) const;
  Result<std::string> String(std::string_view key, std::optional<std::string> fallback = std::nullopt) const;
  // Arrays; absent gives an empty one. A scalar counts as an array of one (per-layer keys come in both forms); Ints takes bools as
  // 0, 1.
  Result<std::vector<int64_t>> Ints(std::string_view key) const;
  Result<std::vector<float>> Floats(std::string_view key) const;
  Result<std::span<const std::string_view>> Strings(std::string_view key) const;

 private:
  tl::unexpected<Error> WrongType(std::string_view key, const GgufValue& found, const char* wanted) const;
  tl::unexpected<Error> Missing(std::string_view key, const char* wanted) const;
  std::vector<Entry> entries_;
  std::vector<uint32_t> by_key_;
  std::string where_;
};

// What a tensor type number means: name and geometry, also for types that this build cannot decode.
struct GgufTensorType {
  int64_t id;
  const char* name;  // as the file's own tools spell it: "Q4_K"
  int block_elems, block_bytes;
  DType dtype;  // of plain types, else kNone
  int row_meta_bytes = 0;
};
const GgufTensorType* FindGgufTensorType(int64_t id);  // null: unknown or retired

struct GgufTensorInfo {
  std::string_view name;
  Shape shape;  // torch order: ne reversed
  const GgufTensorType* type = nullptr;
  int64_t begin = 0, end = 0;  // bytes of the file
};
struct GgufHeader {
  uint32_t version = 0;
  int64_t alignment = 32;
  GgufMetadata metadata;
  std::vector<GgufTensorInfo> tensors;
  int64_t data_begin = 0;
};
// Checks the head of a file of file_bytes bytes; `head` is at least everything before the data (the whole file will do).
Result<GgufHeader> ParseGgufHeader(std::span<const std::byte> head, int64_t file_bytes, const std::string& where);

struct GgufFile {
  GgufMetadata metadata;                                 // of the first shard
  TensorIndex tensors;                                   // of all shards
  std::vector<std::shared_ptr<const MappedFile>> files;  // metadata points into files[0]
};
// A file, or any shard NAME-0000i-of-0000n.gguf of a split one (its siblings are found beside it; a missing one is named).
// Types that this build cannot decode do not fail here: see StoredTensor::unsupported.
Result<GgufFile> OpenGguf(const std::string& path);

// Splits "dir/name-00002-of-00005.gguf"; nullopt if the name does not look so.
struct GgufShardName {
  std::string prefix;  // "dir/name"
  int number = 0, count = 0;
  std::string Sibling(int other) const;
};
std::optional<GgufShardName> ParseGgufShardName(const std::string& path);

}  // namespace nibble
