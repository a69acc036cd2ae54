// SPDX-License-Identifier: Apache-2.0
// GPT-2: learned positions, layer norms with bias, ungated GELU, q, k, v in one module; products may be stored transposed.
#include <cmath>

#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  DecoderOptions o;
  NIBBLE_TRY_IN(c.where, const bool scaled, JsonBool(c.json, "scale_attn_weights", true));
  NIBBLE_TRY_IN(c.where, const bool by_layer, JsonBool(c.json, "scale_attn_by_inverse_layer_idx", false));
  o.norm = {.eps = c.norm_eps, .rms = false, .bias = true};
  o.gated = false;
  o.transposed = true;
  o.qkv_bias = o.o_bias = o.mlp_bias = true;
  o.position_rows = c.max_positions;
  o.attention = [=, dim = c.head_dim](int64_t layer, GraphBuilder::AttentionOptions* a) {
    a->scale = scaled ? 1 / std::sqrt(static_cast<float>(dim)) : 1;
    if (by_layer) a->scale /= static_cast<float>(layer + 1);
  };
  o.names = {.embed = "transformer.wte",
             .layers = "transformer.h",
             .final_norm = "transformer.ln_f",
             .attn = "attn.",
             .qkv = "c_attn",
             .o = "c_proj",
             .up = "c_fc",
             .down = "c_proj",
             .attn_in = "ln_1",
             .mlp_in = "ln_2",
             .positions = "transformer.wpe"};
  return o;
}

}  // namespace

const Architecture* gpt2_architecture() {
  static const Architecture architecture = MakeDecoder<Options>(
      "gpt2", {"gpt2"},
      R"({"hidden_act": "gelu_new", "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "max_position_embeddings": 1024})",
      {".attn.bias", ".attn.masked_bias"}, {{"transformer.", ""}});
  return &architecture;
}

}  // namespace nibble
