// SPDX-License-Identifier: Apache-2.0
// StarCoder 2: layer norms, biases and an ungated GELU MLP on a Llama; all layers slide.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Starcoder2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t) { return true; }));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "use_bias", true));
  o.norm.rms = false;
  o.norm.bias = true;
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = bias;
  o.names.up = "c_fc";
  o.names.down = "c_proj";
  return o;
}

}  // namespace

const Architecture* starcoder2_architecture() {
  static const Architecture architecture = MakeDecoder<Starcoder2Options>(
      "starcoder2", {"starcoder2"}, R"({"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-5, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
