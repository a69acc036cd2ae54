// SPDX-License-Identifier: Apache-2.0
// Apertus: norms of q and k heads, an ungated MLP with xIELU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> ApertusOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.qk_norm = DecoderOptions::kHead;
  o.gated = false;
  o.xielu = true;
  o.names.attn_in = "attention_layernorm";
  o.names.mlp_in = "feedforward_layernorm";
  return o;
}

}  // namespace

const Architecture* apertus_architecture() {
  static const Architecture architecture = MakeDecoder<ApertusOptions>(
      "apertus", {"apertus"}, R"({"hidden_act": "xielu", "rms_norm_eps": 1e-5, "rope_theta": 12000000})",
      {"rotary_emb.inv_freq", "act_fn.beta", "act_fn.eps"});
  return &architecture;
}

}  // namespace nibble
