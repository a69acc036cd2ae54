// SPDX-License-Identifier: Apache-2.0
// GGUF metadata -> the config.json that the same model has on the hub.
#pragma once

#include "io/gguf.h"
#include "io/json.h"
#include "methods/gguf/names.h"

namespace nibble {

struct GgufModel {
  const GgufArchitecture* architecture = nullptr;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  Json config;  // config.json, torch's spelling
};

// Errors name the key. Unsupported: an unknown architecture, settings that differ from layer to layer, a rope scaling that the
// hub's configs cannot say (rope_freqs.weight must be the llama3 rule's).
Result<GgufModel> ReadGgufModel(const GgufFile& file);

}  // namespace nibble
