// SPDX-License-Identifier: Apache-2.0
// EXAONE 3 and 3.5: Llama under names of GPT-2's kind.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> ExaoneOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.names = {.embed = "transformer.wte",
             .layers = "transformer.h",
             .final_norm = "transformer.ln_f",
             .attn = "attn.attention.",
             .o = "out_proj",
             .gate = "c_fc_0",
             .up = "c_fc_1",
             .gate_up = "",
             .down = "c_proj",
             .attn_in = "ln_1",
             .mlp_in = "ln_2"};
  return o;
}

}  // namespace

const Architecture* exaone_architecture() {
  static const Architecture architecture =
      MakeDecoder<ExaoneOptions>("exaone", {"exaone"}, R"({"rms_norm_eps": 1e-5})", {"rotary.inv_freq", "rotary_emb.inv_freq"});
  return &architecture;
}

}  // namespace nibble
