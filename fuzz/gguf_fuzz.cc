// SPDX-License-Identifier: Apache-2.0
// Any bytes as a GGUF file: an error, or metadata and tensors inside it. Small tensors of known types are decoded.
#include <vector>

#include "base/check.h"
#include "io/gguf.h"

namespace {

void ReadAll(const nibble::GgufMetadata& metadata) {
  for (const auto& [key, value] : metadata.entries()) {
    NIBBLE_CHECK(metadata.Find(key) == &value);
    (void)metadata.Int(key);
    (void)metadata.Number(key);
    (void)metadata.Bool(key);
    (void)metadata.String(key);
    (void)metadata.Ints(key);
    (void)metadata.Floats(key);
    (void)metadata.Strings(key);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto header = nibble::ParseGgufHeader(bytes, static_cast<int64_t>(size), "fuzz");
  if (!header) return 0;
  ReadAll(header->metadata);
  for (const auto& tensor : header->tensors) {
    NIBBLE_CHECK(tensor.begin >= header->data_begin && tensor.begin <= tensor.end && tensor.end <= static_cast<int64_t>(size));
    const nibble::FormatId format = nibble::FindGgmlFormat(tensor.type->id);
    const int rank = tensor.shape.rank();
    if (!format || rank == 0 || tensor.begin == tensor.end) continue;
    const int64_t columns = tensor.shape[rank - 1];
    std::vector<float> row(static_cast<size_t>(columns));
    format->decode(bytes.data() + tensor.begin, 0, columns / format->block_elems, row.data());
  }
  return 0;
}
