// SPDX-License-Identifier: Apache-2.0
// GGUF metadata -> the config.json that the same model has on the hub.
#pragma once

#include "io/gguf.h"
#include "io/json.h"
#include "methods/gguf/architecture.h"

namespace nibble {

struct GgufModel {
  const GgufArchitecture* architecture = nullptr;
  int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::array<int64_t, 3> qkv_rows = {};  // of tensors that hold q, k and v, where the architecture does not say its own
  Json config;                           // config.json, torch's spelling
};

// Errors name the key. Unsupported: an unknown architecture, settings that differ from layer to layer where the architecture has
// no place for it, a rope scaling that the hub's configs cannot say (rope_freqs.weight must be the llama3 rule's).
Result<GgufModel> ReadGgufModel(const GgufFile& file);

}  // namespace nibble
