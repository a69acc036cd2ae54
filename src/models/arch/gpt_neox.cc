// SPDX-License-Identifier: Apache-2.0
// GPT-NeoX (Pythia): q, k, v of one head after another, part of each head rotated, MLP beside attention with a norm of its own.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> GptNeoxOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.25}));
  NIBBLE_TRY_IN(c.where, o.parallel, JsonBool(c.json, "use_parallel_residual", true));
  o.norm.rms = false;
  o.norm.bias = true;
  o.gated = false;
  o.mlp_bias = true;
  o.qkv_order = GraphBuilder::FusedOrder::kGroups;
  o.names = {.embed = "gpt_neox.embed_in",
             .layers = "gpt_neox.layers",
             .final_norm = "gpt_neox.final_layer_norm",
             .head = "embed_out",
             .attn = "attention.",
             .qkv = "query_key_value",
             .o = "dense",
             .up = "dense_h_to_4h",
             .down = "dense_4h_to_h"};
  return o;
}

}  // namespace

const Architecture* gpt_neox_architecture() {
  static const Architecture architecture = MakeDecoder<GptNeoxOptions>(
      "gpt_neox", {"gpt_neox"}, R"({"hidden_act": "gelu", "rms_norm_eps": 1e-5, "attention_bias": true})",
      {"rotary_emb.inv_freq", "attention.bias", "attention.masked_bias"});
  return &architecture;
}

}  // namespace nibble
