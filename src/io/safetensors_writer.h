// SPDX-License-Identifier: Apache-2.0
// Writes safetensors: declare all tensors, then give their bytes in any order. The files depend on the declarations and the bytes
// only: tensors lie by element size (largest first, so that all are aligned) and then by name, as the reference writer does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensors/tensor_view.h"

namespace nibble {

struct SafetensorsDeclaration {
  std::string name;
  DType dtype = DType::kNone;
  Shape shape;
};

struct SafetensorsWriterOptions {
  std::map<std::string, std::string> metadata = {{"format", "pt"}};  // empty: no "__metadata__"
  int64_t max_shard_bytes = 0;                                       // tensor bytes a file; 0: one file
};

// Nothing is visible under a final name before Commit. Not thread-safe.
class SafetensorsWriter {
 public:
  // One file.
  static Result<SafetensorsWriter> CreateFile(const std::string& path, std::vector<SafetensorsDeclaration> tensors,
                                              const SafetensorsWriterOptions& options = {});
  // folder/model.safetensors, or, when the tensors exceed max_shard_bytes, folder/model-00001-of-0000N.safetensors and
  // folder/model.safetensors.index.json. Shards are filled in the order of the declarations; a tensor is never cut. The folder
  // must exist. Space for all files is reserved at once.
  static Result<SafetensorsWriter> CreateFolder(const std::string& folder, std::vector<SafetensorsDeclaration> tensors,
                                                const SafetensorsWriterOptions& options = {});
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  // Appends to a tensor's bytes (row-major, little-endian), so a tensor may come in pieces. An unknown name or too many bytes is
  // a Usage error.
  Status Write(std::string_view name, std::span<const std::byte> bytes);
  // All files, shards first and the index last. A tensor that is not complete is a Usage error naming it.
  Status Commit();
  // Final names, in shard order.
  std::vector<std::string> paths() const;

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  static Result<SafetensorsWriter> Create(std::vector<std::string> paths, std::vector<std::vector<SafetensorsDeclaration>> shards,
                                          const SafetensorsWriterOptions& options);
  std::unique_ptr<State> state_;
};

// The container's name of a dtype ("BF16"); empty for the packed small floats, which are stored as u8.
std::string_view SafetensorsTypeName(DType dtype);

}  // namespace nibble
