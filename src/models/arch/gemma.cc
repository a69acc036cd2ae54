// SPDX-License-Identifier: Apache-2.0
// Gemma: embeddings times sqrt(hidden), norms by 1 + w, GeGLU, tied.
#include <cmath>

#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> GemmaOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.norm.offset = 1;
  o.embed_scale = std::sqrt(static_cast<float>(c.hidden));
  return o;
}

}  // namespace

const Architecture* gemma_architecture() {
  static const Architecture architecture = MakeDecoder<GemmaOptions>(
      "gemma", {"gemma"}, R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
