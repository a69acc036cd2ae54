// SPDX-License-Identifier: Apache-2.0
// GPT-J: attention and an ungated MLP side by side on one layer norm; the first rotary_dim elements of each head rotated in pairs.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t rotary, JsonInt(c.json, "rotary_dim", 64));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = static_cast<double>(rotary) / static_cast<double>(c.head_dim),
                                                .interleaved = true}));
  o.norm.rms = false;
  o.norm.bias = true;
  o.parallel = true;
  o.gated = false;
  o.mlp_bias = o.head.bias = true;
  o.names.embed = "transformer.wte";
  o.names.layers = "transformer.h";
  o.names.final_norm = "transformer.ln_f";
  o.names.attn = "attn.";
  o.names.o = "out_proj";
  o.names.up = "fc_in";
  o.names.down = "fc_out";
  o.names.attn_in = "ln_1";
  o.names.mlp_in = "";
  return o;
}

}  // namespace

const Architecture* gptj_architecture() {
  static const Architecture architecture =
      MakeDecoder<Options>("gptj", {"gptj"}, R"({"hidden_act": "gelu_new", "rms_norm_eps": 1e-5})",
                           {"attn.bias", "attn.masked_bias", "rotary_emb.inv_freq", "attn.embed_positions"});
  return &architecture;
}

}  // namespace nibble
