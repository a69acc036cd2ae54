// SPDX-License-Identifier: Apache-2.0
// Gemma 3 (text): Gemma 2 without soft caps, with norms of q and k heads; five sliding layers to one that sees everything, each
// kind with a rope of its own.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> Gemma3Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t pattern, JsonInt(c.json, "sliding_window_pattern", 6));
  const auto slides = [=](int64_t layer) { return pattern > 0 && (layer + 1) % pattern != 0; };
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.theta = 1e6, .layer_type = "full_attention"}, slides));
  NIBBLE_TRY_IN(c.where, const double local_theta, JsonNumber(c.json, "rope_local_base_freq", 10000.0));
  NIBBLE_RETURN_IF_ERROR(AddWindowRope(c, local_theta, &o));
  o.qk_norm = DecoderOptions::kHead;
  o.head_norm.offset = 1;
  ModelConfig uncapped = c;  // norms of q and k took the place of a cap on scores, which files may still name
  uncapped.json.erase("attn_logit_softcapping");
  NIBBLE_RETURN_IF_ERROR(AddGemmaBlocks(uncapped, &o));
  return o;
}

}  // namespace

const Architecture* gemma3_architecture() {
  static const Architecture architecture = MakeDecoder<Gemma3Options>(
      "gemma3", {"gemma3_text"},
      R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": true,
          "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208})");
  return &architecture;
}

}  // namespace nibble
