// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: an error, or tensors that tile the file exactly.
#include "base/check.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto header = nibble::ParseSafetensorsHeader(bytes, static_cast<int64_t>(size), "fuzz");
  if (!header) return 0;
  int64_t position = header->data_begin;
  for (const auto& entry : header->entries) {
    NIBBLE_CHECK(entry.begin == position && entry.end >= entry.begin, "{} {} {}", position, entry.begin, entry.end);
    NIBBLE_CHECK(entry.shape.elems() * nibble::DTypeBytes(entry.dtype) == entry.end - entry.begin, "{}", entry.shape.ToString());
    position = entry.end;
  }
  NIBBLE_CHECK(position == static_cast<int64_t>(size), "{} of {}", position, size);
  return 0;
}
