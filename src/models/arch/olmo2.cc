// SPDX-License-Identifier: Apache-2.0
// OLMo 2: norms after attention and MLP, none before; norms of all q heads and all k heads as one row.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.qk_norm = DecoderOptions::kWidth;
  o.names.attn_in = o.names.mlp_in = "";
  o.names.attn_out = "post_attention_layernorm";
  o.names.mlp_out = "post_feedforward_layernorm";
  return o;
}

}  // namespace

const Architecture* olmo2_architecture() {
  static const Architecture architecture = MakeDecoder<Options>("olmo2", {"olmo2"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
