// SPDX-License-Identifier: Apache-2.0
// The metadata of a model in GGUF's words.
#pragma once

#include "io/gguf_writer.h"
#include "methods/gguf/architecture.h"
#include "models/architecture.h"

namespace nibble {

// Divisors of rope frequencies, tensors beside the metadata.
struct GgufDivisors {
  std::string tensor;  // "rope_freqs.weight"
  std::vector<float> values;
};

// Keys of the architecture and what stands of its ropes in tensors. Unsupported: ropes that GGUF cannot say. `where` begins
// messages.
Status WriteGgufKeys(const GgufArchitecture& architecture, const ModelConfig& config, const Graph& graph, const std::string& where,
                     GgufMetadataWriter* keys, std::vector<GgufDivisors>* divisors);

}  // namespace nibble
