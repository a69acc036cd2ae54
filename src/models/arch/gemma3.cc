// SPDX-License-Identifier: Apache-2.0
// Gemma 3 (text): Gemma 2 without soft caps, with norms of q and k heads; five sliding layers to one that sees everything, each
// kind with a rope of its own.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t pattern, JsonInt(c.json, "sliding_window_pattern", 6));
  const auto slides = [=](int64_t layer) { return pattern > 0 && (layer + 1) % pattern != 0; };
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.theta = 1e6, .layer_type = "full_attention"}, slides));
  NIBBLE_TRY_IN(c.where, const double local_theta, JsonNumber(c.json, "rope_local_base_freq", 10000.0));
  // Older configs have one rope_scaling, for the layers that see everything.
  ModelConfig local = c;
  const Json* nested = JsonFind(c.json, "rope_parameters");
  if (!nested || !JsonFind(*nested, "sliding_attention")) {
    local.json.erase("rope_scaling");
    local.json["rope_parameters"] = {{"rope_theta", local_theta}};
  }
  NIBBLE_TRY(RopeSpec local_rope, RopeFromConfig(local, c.head_dim, {.theta = local_theta, .layer_type = "sliding_attention"}));
  o.rope = [global = o.rope, near = OneRope(std::move(local_rope)), attention = o.attention](int64_t layer) {
    GraphBuilder::AttentionOptions a;
    attention(layer, &a);
    return a.window > 0 ? near(layer) : global(layer);
  };
  o.qk_norm = DecoderOptions::kHead;
  o.head_norm.offset = 1;
  NIBBLE_RETURN_IF_ERROR(AddGemmaBlocks(c, &o));
  return o;
}

}  // namespace

const Architecture* gemma3_architecture() {
  static const Architecture architecture = MakeDecoder<Options>(
      "gemma3", {"gemma3_text"},
      R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": true,
          "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208})");
  return &architecture;
}

}  // namespace nibble
