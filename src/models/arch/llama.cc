// SPDX-License-Identifier: Apache-2.0
// Llama 1 to 3.x: RMS norm, rotary q and k, grouped-query attention, SwiGLU; optional biases on all attention or all MLP products.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> LlamaOptions(const ModelConfig& c) { return UsualOptions(c); }

}  // namespace

const Architecture* llama_architecture() {
  static const Architecture architecture = MakeDecoder<LlamaOptions>("llama", {"llama"});
  return &architecture;
}

}  // namespace nibble
