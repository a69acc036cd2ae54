// SPDX-License-Identifier: Apache-2.0
// BLOOM: ALiBi instead of positions, a norm on the embeddings, q, k, v of one head after another, ungated GELU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> BloomOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool after, JsonBool(c.json, "apply_residual_connection_post_layernorm", false));
  DecoderOptions o;
  if (after) o.normed_residual = [](int64_t, bool) { return DecoderOptions::NormedResidual{}; };
  o.norm = {.eps = c.norm_eps, .rms = false, .bias = true};
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = true;
  o.qkv_order = GraphBuilder::FusedOrder::kGroups;
  o.attention = [slopes = AlibiSlopes(c.heads, 8)](int64_t, GraphBuilder::AttentionOptions* a) { a->slopes = slopes; };
  o.names = {.embed = "transformer.word_embeddings",
             .layers = "transformer.h",
             .final_norm = "transformer.ln_f",
             .attn = "self_attention.",
             .qkv = "query_key_value",
             .o = "dense",
             .up = "dense_h_to_4h",
             .down = "dense_4h_to_h",
             .embed_norm = "transformer.word_embeddings_layernorm"};
  return o;
}

}  // namespace

const Architecture* bloom_architecture() {
  static const Architecture architecture = MakeDecoder<BloomOptions>(
      "bloom", {"bloom"}, R"({"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-5, "tie_word_embeddings": true})", {},
      {{"transformer.", ""}});
  return &architecture;
}

}  // namespace nibble
