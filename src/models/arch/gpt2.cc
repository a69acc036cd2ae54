// SPDX-License-Identifier: Apache-2.0
// GPT-2: learned positions, layer norms with bias, ungated GELU, q, k, v in one module; products may be stored transposed.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> TransposedGpt2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, Gpt2Options(c));
  o.transposed = true;
  return o;
}

}  // namespace

const Architecture* gpt2_architecture() {
  static const Architecture architecture = MakeDecoder<TransposedGpt2Options>(
      "gpt2", {"gpt2"},
      R"({"hidden_act": "gelu_new", "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "max_position_embeddings": 1024})",
      {".attn.bias", ".attn.masked_bias"}, {{"transformer.", ""}});
  return &architecture;
}

}  // namespace nibble
