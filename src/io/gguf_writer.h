// SPDX-License-Identifier: Apache-2.0
// Writes GGUF version 3: metadata first, tensors declared, then their bytes in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "io/gguf.h"

namespace nibble {

// Key-value pairs in the order of the calls. The caller gives each key once.
class GgufMetadataWriter {
 public:
  void U16(std::string_view key, uint16_t value) { Number(key, GgufType::kU16, &value); }
  void U32(std::string_view key, uint32_t value) { Number(key, GgufType::kU32, &value); }
  void I32(std::string_view key, int32_t value) { Number(key, GgufType::kI32, &value); }
  void U64(std::string_view key, uint64_t value) { Number(key, GgufType::kU64, &value); }
  void F32(std::string_view key, float value) { Number(key, GgufType::kF32, &value); }
  void Bool(std::string_view key, bool value);
  void String(std::string_view key, std::string_view value);
  void Strings(std::string_view key, std::span<const std::string> values);
  void I32s(std::string_view key, std::span<const int32_t> values);
  void F32s(std::string_view key, std::span<const float> values);
  // Any value of a file that was read, with its exact type.
  void Copy(std::string_view key, const GgufValue& value);

 private:
  friend class GgufWriter;
  void Number(std::string_view key, GgufType type, const void* value);
  void Key(std::string_view key, GgufType type);
  void ArrayHead(std::string_view key, GgufType type, uint64_t count);
  template <typename T>
  void Append(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void AppendString(std::string_view text);

  std::string bytes_;
  uint64_t count_ = 0;
};

struct GgufDeclaration {
  std::string name;  // at most 63 bytes
  Shape shape;       // torch order, at most 4 dimensions
  int64_t type = 0;  // ggml type number
};

// Not thread-safe. Nothing is visible under the final name before Commit; the space is reserved at once.
class GgufWriter {
 public:
  // Usage errors: unknown type, row length no multiple of the block, name too long or repeated, alignment no power of two.
  // An alignment other than 32 is recorded as general.alignment.
  static Result<GgufWriter> Create(const std::string& path, const GgufMetadataWriter& metadata,
                                   const std::vector<GgufDeclaration>& tensors, uint32_t alignment = 32);
  GgufWriter(GgufWriter&&) noexcept;
  GgufWriter& operator=(GgufWriter&&) noexcept;
  ~GgufWriter();

  // Appends to a tensor's bytes (rows of blocks), so a tensor may come in pieces.
  Status Write(std::string_view name, std::span<const std::byte> bytes);
  // A tensor that is not complete is a Usage error naming it.
  Status Commit();

 private:
  struct State;
  explicit GgufWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nibble
