// SPDX-License-Identifier: Apache-2.0
// OPT: learned positions from row 2, layer norms with bias, ungated ReLU. OPT-350m has its norms after attention and MLP and
// embeddings narrower than x.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> OptOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool before, JsonBool(c.json, "do_layer_norm_before", true));
  NIBBLE_TRY_IN(c.where, const int64_t projected, JsonInt(c.json, "word_embed_proj_dim", c.hidden));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "enable_bias", true));
  NIBBLE_TRY_IN(c.where, const bool affine, JsonBool(c.json, "layer_norm_elementwise_affine", true));
  NIBBLE_TRY_IN(c.where, const bool no_final, JsonBool(c.json, "_remove_final_layer_norm", false));
  if (projected < 1 || projected >= int64_t{1} << 31)
    return Corrupt("{}: word_embed_proj_dim is {}, wanted a positive number", c.where, projected);
  DecoderOptions o;
  o.norm = {.eps = 1e-5f, .rms = false, .bias = affine, .has_weight = affine};
  o.post_norm = !before;
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = bias;
  o.position_offset = 2;
  o.position_rows = c.max_positions + 2;
  o.names = {.embed = "model.decoder.embed_tokens",
             .layers = "model.decoder.layers",
             .final_norm = "model.decoder.final_layer_norm",
             .o = "out_proj",
             .mlp = "",
             .up = "fc1",
             .down = "fc2",
             .attn_in = "self_attn_layer_norm",
             .mlp_in = "final_layer_norm",
             .positions = "model.decoder.embed_positions"};
  if (no_final || !before) o.names.final_norm = "";
  if (projected != c.hidden) {
    o.embed_width = projected;
    o.names.embed_in = "model.decoder.project_in";
    o.head.in = "model.decoder.project_out";
    o.head.in_width = projected;
  }
  return o;
}

}  // namespace

const Architecture* opt_architecture() {
  static const Architecture architecture =
      MakeDecoder<OptOptions>("opt", {"opt"}, R"({"hidden_act": "relu", "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
