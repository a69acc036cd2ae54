// SPDX-License-Identifier: Apache-2.0
// Granite 3 MoE: Granite with experts in every layer, softmax over the chosen; all experts in one tensor. Also with a shared MLP.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY_IN(c.where, const double embed, JsonNumber(c.json, "embedding_multiplier", 1.0));
  NIBBLE_TRY_IN(c.where, const double residual, JsonNumber(c.json, "residual_multiplier", 1.0));
  NIBBLE_TRY_IN(c.where, const double scores, JsonNumber(c.json, "attention_multiplier", 1.0));
  NIBBLE_TRY_IN(c.where, const double logits, JsonNumber(c.json, "logits_scaling", 1.0));
  o.embed_scale = static_cast<float>(embed);
  o.residual_scale = static_cast<float>(residual);
  o.head.scale = static_cast<float>(1 / logits);
  o.attention = [scores](int64_t, GraphBuilder::AttentionOptions* a) { a->scale = static_cast<float>(scores); };
  MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .router = RouterKind::kTopKSoftmax, .gate = {c.act}},
               .mlp = "block_sparse_moe.",
               .router = "router.layer"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* granitemoe_architecture() {
  static const Architecture architecture = MakeDecoder<Options>(
      "granitemoe", {"granitemoe"}, R"({"tie_word_embeddings": true, "num_experts": 8, "num_experts_per_tok": 2})");
  return &architecture;
}

}  // namespace nibble
