// SPDX-License-Identifier: Apache-2.0
// Granite 3: Llama with multipliers of embeddings, residuals, scores and logits.
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
  return o;
}

}  // namespace

const Architecture* granite_architecture() {
  static const Architecture architecture = MakeDecoder<Options>("granite", {"granite"}, R"({"tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
