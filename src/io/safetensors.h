// SPDX-License-Identifier: Apache-2.0
// safetensors: a JSON header with names, dtypes, shapes and byte ranges, then the bytes.
//
//   0        8             8 + h                         end of file
//   [u64 h]  [JSON header] [tensor data without gaps ............]
//
// A file is checked wholly when it is opened (header cap 100 MB, UTF-8, ranges tile the data exactly, shape x dtype == range);
// after that every view lies inside the map. The writer is safetensors_writer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "io/tensor_index.h"
#include "tensors/tensor_view.h"

namespace nibble {

inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // the limit of the reference implementation

// One header entry; begin and end are positions in the file.
struct SafetensorsEntry {
  std::string name;
  std::string stored_type;     // "BF16"
  DType dtype = DType::kNone;  // kU8 for packed 4- and 6-bit floats
  Shape shape;                 // of elements of `dtype`
  int64_t begin = 0, end = 0;
};
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // by position in the file
  std::map<std::string, std::string> metadata;  // "__metadata__"
  int64_t data_begin = 0;
};

// Checks the head of a file of file_bytes bytes; `head` is at least its header (the whole file will do). Touches no tensor data.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> head, int64_t file_bytes, const std::string& where);

// An opened checkpoint: one file or all shards of a folder.
struct SafetensorsFiles {
  TensorIndex tensors;
  std::map<std::string, std::string> metadata;           // of all files; the first one that has a key
  std::vector<std::shared_ptr<const MappedFile>> files;  // in shard order
};

Result<SafetensorsFiles> OpenSafetensors(const std::string& path);

// model.safetensors; or model.safetensors.index.json and the shards that it names; or else the only *.safetensors of the folder; or
// else the same of PyTorch's files (pytorch_model.bin ..., io/torch_file.h).
// A shard that is missing, a tensor that the index puts into a shard that lacks it, or a tensor in two shards is an error; tensors
// that the index does not mention are accepted.
Result<SafetensorsFiles> OpenSafetensorsFolder(const std::string& folder);

}  // namespace nibble
