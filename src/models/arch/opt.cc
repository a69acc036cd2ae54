// SPDX-License-Identifier: Apache-2.0
// OPT: learned positions from row 2, layer norms with bias, ungated ReLU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool before, JsonBool(c.json, "do_layer_norm_before", true));
  NIBBLE_TRY_IN(c.where, const int64_t projected, JsonInt(c.json, "word_embed_proj_dim", c.hidden));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "enable_bias", true));
  if (!before || projected != c.hidden)
    return Unsupported("{}: norms after the layers (do_layer_norm_before false) and projected embeddings are not built", c.where);
  DecoderOptions o;
  o.norm = {.eps = 1e-5f, .rms = false, .bias = true};
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
  return o;
}

}  // namespace

const Architecture* opt_architecture() {
  static const Architecture architecture =
      MakeDecoder<Options>("opt", {"opt"}, R"({"hidden_act": "relu", "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
