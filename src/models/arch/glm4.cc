// SPDX-License-Identifier: Apache-2.0
// GLM 4 0414: GLM with norms after attention and MLP as well.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Glm4Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.5, .interleaved = true}));
  o.o_bias = false;
  o.names.attn_out = "post_self_attn_layernorm";
  o.names.mlp_out = "post_mlp_layernorm";
  return o;
}

}  // namespace

const Architecture* glm4_architecture() {
  static const Architecture architecture =
      MakeDecoder<Glm4Options>("glm4", {"glm4"}, R"({"rms_norm_eps": 1.5625e-7, "head_dim": 128})");
  return &architecture;
}

}  // namespace nibble
