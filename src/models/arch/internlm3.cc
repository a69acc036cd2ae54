// SPDX-License-Identifier: Apache-2.0
// InternLM 3: Llama with a switch for the biases of q, k, v (qkv_bias) and one for all others (bias).
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Internlm3Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY_IN(c.where, o.qkv_bias, JsonBool(c.json, "qkv_bias", c.attention_bias));
  NIBBLE_TRY_IN(c.where, o.mlp_bias, JsonBool(c.json, "bias", c.mlp_bias));
  o.o_bias = o.mlp_bias;
  return o;
}

}  // namespace

const Architecture* internlm3_architecture() {
  static const Architecture architecture = MakeDecoder<Internlm3Options>(
      "internlm3", {"internlm3"}, R"({"rms_norm_eps": 1e-5, "head_dim": 128, "num_key_value_heads": 2})");
  return &architecture;
}

}  // namespace nibble
