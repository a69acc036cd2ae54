// SPDX-License-Identifier: Apache-2.0
// Falcon, both decoders: attention and an ungated GELU MLP side by side. The old one has one norm and one k, v head (or as many as
// q); the new one groups of heads and, mostly, a norm for each side. Some old ones have ALiBi or a sequential MLP.
#include <cmath>

#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> FalconOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool grouped, JsonBool(c.json, "new_decoder_architecture", false));
  NIBBLE_TRY_IN(c.where, const bool alibi, JsonBool(c.json, "alibi", false));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "bias", false));
  NIBBLE_TRY_IN(c.where, const bool parallel, JsonBool(c.json, "parallel_attn", true));
  NIBBLE_TRY_IN(c.where, const int64_t norms, JsonInt(c.json, "num_ln_in_parallel_attn", grouped ? 2 : 1));
  NIBBLE_TRY_IN(c.where, const bool one_head, JsonBool(c.json, "multi_query", true));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  const GraphBuilder::Heads heads = {.q = c.heads, .kv = grouped ? c.kv_heads : one_head ? 1 : c.heads, .dim = c.head_dim};
  o.heads = [heads](int64_t) { return heads; };
  o.norm.rms = false;
  o.norm.bias = true;
  o.parallel = parallel || grouped;
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = bias;
  if (heads.kv > 1) o.qkv_order = GraphBuilder::FusedOrder::kGroups;
  o.names = {.embed = "transformer.word_embeddings",
             .layers = "transformer.h",
             .final_norm = "transformer.ln_f",
             .attn = "self_attention.",
             .qkv = "query_key_value",
             .o = "dense",
             .up = "dense_h_to_4h",
             .down = "dense_4h_to_h"};
  if (o.parallel) o.names.mlp_in = "";
  if (grouped && norms == 2) {
    o.names.attn_in = "ln_attn";
    o.names.mlp_in = "ln_mlp";
  }
  if (alibi) {
    o.rope = nullptr;
    std::vector<float> slopes = AlibiSlopes(c.heads, 8);
    for (float& slope : slopes) slope /= std::sqrt(static_cast<float>(c.head_dim));  // the bias is scaled with the scores
    o.attention = [slopes](int64_t, GraphBuilder::AttentionOptions* a) { a->slopes = slopes; };
  }
  return o;
}

}  // namespace

const Architecture* falcon_architecture() {
  static const Architecture architecture = MakeDecoder<FalconOptions>(
      "falcon", {"falcon"}, R"({"hidden_act": "gelu", "rms_norm_eps": 1e-5, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
