// SPDX-License-Identifier: Apache-2.0
#include "models/blocks.h"

namespace nibble {

Result<Graph> BuildLlamaLike(const ModelConfig& c, const LlamaLikeOptions& o, int rank, int ranks) {
  GraphBuilder b(rank, ranks);
  NIBBLE_TRY(RopeSpec rope_spec, RopeFromConfig(c, c.head_dim, o.rope));
  const int rope = b.AddRope(std::move(rope_spec));
  const auto norm = [&](const std::string& name) { return GraphBuilder::Norm{.name = name, .eps = c.norm_eps}; };

  const BufferId x = b.Embed("model.embed_tokens", c.vocab, c.hidden);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i), attn = layer + "self_attn.";
    const BufferId h = b.NormOf(x, norm(layer + "input_layernorm"));
    const auto qkv = b.QkvProjection(h, attn + "q_proj", attn + "k_proj", attn + "v_proj", attn + "qkv_proj",
                                     {.q = c.heads, .kv = c.kv_heads, .dim = c.head_dim}, o.qkv_bias);
    if (o.head_norm) b.HeadNorm(qkv, norm(attn + "q_norm"), norm(attn + "k_norm"));
    b.Rope(qkv, rope);
    NIBBLE_TRY(const int64_t window, LayerWindow(c, i, o.slides && o.slides(i)));
    const BufferId mixed = b.Attention(qkv, {.window = window});
    b.Add(x, b.RowParallel(mixed, {attn + "o_proj", c.hidden, o.o_bias}, c.heads * c.head_dim, c.head_dim));

    const BufferId g = b.NormOf(x, norm(layer + "post_attention_layernorm"));
    BufferId out;
    if (o.mlp && !(o.dense && o.dense(i))) {
      NIBBLE_TRY(out, o.mlp(b, g, layer));
    } else {
      const std::string mlp = layer + "mlp.";
      out = b.GatedMlp(g, {.gate = mlp + "gate_proj",
                           .up = mlp + "up_proj",
                           .down = mlp + "down_proj",
                           .fused = mlp + "gate_up_proj",
                           .hidden = c.hidden,
                           .inter = c.inter,
                           .act = c.act,
                           .bias = c.mlp_bias});
    }
    b.Add(x, out);
  }
  b.Logits(x, norm("model.norm"), {.tied_to = o.tied ? "model.embed_tokens" : "", .vocab = c.vocab});
  return b.Finish();
}

std::vector<FoldPoint> LlamaLikeFoldPoints(const ModelConfig& c) {
  std::vector<FoldPoint> points;
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i), attn = layer + "self_attn.", mlp = layer + "mlp.";
    points.push_back({layer + "input_layernorm", {attn + "q_proj", attn + "k_proj", attn + "v_proj"}});
    points.push_back({attn + "v_proj", {attn + "o_proj"}});
    points.push_back({layer + "post_attention_layernorm", {mlp + "gate_proj", mlp + "up_proj"}});
    points.push_back({mlp + "up_proj", {mlp + "down_proj"}});
  }
  return points;
}

}  // namespace nibble
