// SPDX-License-Identifier: Apache-2.0
// Phi 1 and 2: attention and an ungated MLP side by side on one layer norm; biases everywhere, half of each head rotated.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> PhiOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.5}));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(c.json, "qk_layernorm", false));
  o.norm.rms = false;
  o.norm.bias = true;
  o.head_norm = o.norm;
  o.parallel = true;
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = o.head.bias = true;
  if (head_norm) o.qk_norm = DecoderOptions::kHead;
  o.names.q_norm = "q_layernorm";
  o.names.k_norm = "k_layernorm";
  o.names.o = "dense";
  o.names.up = "fc1";
  o.names.down = "fc2";
  o.names.mlp_in = "";
  o.names.final_norm = "model.final_layernorm";
  return o;
}

}  // namespace

const Architecture* phi_architecture() {
  static const Architecture architecture =
      MakeDecoder<PhiOptions>("phi", {"phi"}, R"({"hidden_act": "gelu_new", "rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
