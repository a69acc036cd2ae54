// SPDX-License-Identifier: Apache-2.0
// StableLM 2 and 3B: layer norms with bias, a quarter of each head rotated; optionally one norm for attention and MLP side by side.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> StablelmOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.25}));
  NIBBLE_TRY_IN(c.where, o.qkv_bias, JsonBool(c.json, "use_qkv_bias", false));
  NIBBLE_TRY_IN(c.where, o.parallel, JsonBool(c.json, "use_parallel_residual", false));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(c.json, "qk_layernorm", false));
  if (head_norm) {  // each head has weights of its own, each in a tensor of its own
    o.qk_norm = DecoderOptions::kHead;
    o.head_norm.rms = false;
    o.head_norm.per_head = true;
    o.names.q_norm = "q_layernorm.norms.{}";
    o.names.k_norm = "k_layernorm.norms.{}";
  }
  o.norm.rms = false;
  o.norm.bias = true;
  o.o_bias = false;
  if (o.parallel) o.names.mlp_in = "";
  return o;
}

}  // namespace

const Architecture* stablelm_architecture() {
  static const Architecture architecture = MakeDecoder<StablelmOptions>("stablelm", {"stablelm"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
