// SPDX-License-Identifier: Apache-2.0
// Gemma 2: Gemma with norms before and after attention and MLP, every other layer sliding, soft caps on scores and logits.
#include <cmath>

#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t layer) { return layer % 2 == 0; }));
  NIBBLE_TRY_IN(c.where, const double score_cap, JsonNumber(c.json, "attn_logit_softcapping", 0.0));
  NIBBLE_TRY_IN(c.where, const double logit_cap, JsonNumber(c.json, "final_logit_softcapping", 0.0));
  NIBBLE_TRY_IN(c.where, const double scalar, JsonNumber(c.json, "query_pre_attn_scalar", 256.0));
  o.norm.offset = 1;
  o.embed_scale = std::sqrt(static_cast<float>(c.hidden));
  o.names.attn_out = "post_attention_layernorm";
  o.names.mlp_in = "pre_feedforward_layernorm";
  o.names.mlp_out = "post_feedforward_layernorm";
  o.head.softcap = static_cast<float>(logit_cap);
  o.attention = [windows = o.attention, score_cap, scalar](int64_t layer, GraphBuilder::AttentionOptions* a) {
    windows(layer, a);
    a->softcap = static_cast<float>(score_cap);
    a->scale = static_cast<float>(1 / std::sqrt(scalar));
  };
  return o;
}

}  // namespace

const Architecture* gemma2_architecture() {
  static const Architecture architecture = MakeDecoder<Options>(
      "gemma2", {"gemma2"},
      R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
