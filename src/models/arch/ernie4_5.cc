// SPDX-License-Identifier: Apache-2.0
// ERNIE 4.5 dense: Llama rotated in pairs, with biases everywhere when use_bias says so.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Ernie45Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.interleaved = true}));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "use_bias", false));
  o.qkv_bias = o.o_bias = o.mlp_bias = bias;
  return o;
}

}  // namespace

const Architecture* ernie4_5_architecture() {
  static const Architecture architecture = MakeDecoder<Ernie45Options>(
      "ernie4_5", {"ernie4_5"}, R"({"rms_norm_eps": 1e-5, "rope_theta": 500000, "head_dim": 128, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
