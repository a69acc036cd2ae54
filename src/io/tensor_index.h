// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds, whatever its container: tensors by name, as views into mapped files.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/format.h"
#include "io/mapped_file.h"
#include "tensors/tensor_view.h"

namespace nibble {

// One stored tensor; its bytes were checked to lie inside the file when the file was opened.
//   safetensors: ggml is null, shape == view.shape. 4- and 6-bit floats (F4, F6_*) come as bytes: u8 [..., last * bits / 8].
//   gguf: shape is in torch order (outermost first: [out, in]). Block types have ggml and a u8 view [rows..., row bytes]; f32, f16
//   and
//     bf16 have ggml (block_elems 1) and a typed view; integers and f64 a typed view and no ggml. A type that this build cannot
//     decode has its bytes as view, no ggml, and in `unsupported` the reason for whoever wants its values.
struct StoredTensor {
  std::string name;
  TensorView view;
  FormatId ggml = nullptr;
  Shape shape;
  std::string file;                         // path, for messages and Origin
  std::shared_ptr<const MappedFile> keep;   // what view points into
  std::shared_ptr<const void> computed;     // instead of it: values worked out when the file was opened (gguf)
  int64_t file_offset = 0, size_bytes = 0;  // of the data in that file
  std::string stored_type;                  // as the file spells it: "BF16", "F4", "Q4_K"
  std::string unsupported;                  // empty, or the reason why the elements cannot be read

  // What views of it have to keep.
  std::shared_ptr<const void> holder() const { return computed ? computed : std::shared_ptr<const void>(keep); }
};

class TensorIndex {
 public:
  TensorIndex() = default;
  // Corrupt if a name occurs twice (both files are named). Keeps the order given.
  static Result<TensorIndex> Make(std::vector<StoredTensor> tensors);

  // Null if absent. Logarithmic, thread-safe; the pointer lives as long as the index.
  const StoredTensor* Find(std::string_view name) const;
  // Whether some tensor's name begins with `prefix`. Logarithmic.
  bool HasPrefix(std::string_view prefix) const;
  // By file (in shard order), then by offset: reading in this order is sequential.
  std::span<const StoredTensor> tensors() const { return tensors_; }
  int64_t total_bytes() const { return total_bytes_; }

 private:
  std::vector<StoredTensor> tensors_;
  std::vector<uint32_t> by_name_;
  int64_t total_bytes_ = 0;
};

}  // namespace nibble
