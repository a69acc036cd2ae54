// SPDX-License-Identifier: Apache-2.0
// Any bytes as JSON of a configuration file, and every typed access to what came out.
#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)nibble::ParseOrderedJson(text, "fuzz");
  const auto json = nibble::ParseJson(text, "fuzz");
  if (!json || !json->is_object()) return 0;
  for (const auto& [key, value] : json->items()) {
    (void)nibble::JsonFind(*json, key);
    (void)nibble::JsonInt(*json, key);
    (void)nibble::JsonNumber(*json, key);
    (void)nibble::JsonBool(*json, key);
    (void)nibble::JsonString(*json, key);
  }
  return 0;
}
