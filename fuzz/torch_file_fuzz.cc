// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of torch.save: an error, or tensors that lie inside the file.
#include "base/check.h"
#include "io/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = nibble::ParseTorchFile(bytes, "fuzz");
  if (!file) return 0;
  for (const auto& entry : file->entries) {
    int64_t last = 0;
    for (int i = 0; i < entry.view.rank(); ++i) last += (entry.view.dim(i) - 1) * entry.view.stride[static_cast<size_t>(i)];
    const std::byte* end = entry.view.data + (last + 1) * nibble::DTypeBytes(entry.view.dtype);
    NIBBLE_CHECK(entry.view.data >= bytes.data() && end <= bytes.data() + bytes.size(), "{} reaches outside", entry.name);
  }
  return 0;
}
